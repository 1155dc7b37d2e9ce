"""`torch.jit.trace`, with which TensorBoard draws its graph."""

from __future__ import annotations

import torch
from torch import Tensor


def image_size(images: Tensor) -> tuple[int, int]:
    """(H, W) of (N, C, H, W), as numbers that an operator accepts.

    In a trace, sizes are tensors.
    """
    height, width = images.shape[2:]
    return (int(height), int(width)) if torch.jit.is_tracing() else (height, width)
