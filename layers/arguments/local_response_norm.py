"""What local response normalisation takes."""

from __future__ import annotations

import torch
from torch import Tensor

from .dtypes import refuse_complex


def check(x: Tensor, size: int) -> None:
    if x.dim() < 3:
        raise ValueError(f"local_response_norm needs (N, C, ...) images, got {tuple(x.shape)}")
    if size < 1:
        raise RuntimeError(f"size must be at least 1 channel, got {size}")
    refuse_complex("local_response_norm", x)
    if not x.is_floating_point() and x.dtype != torch.int64:
        raise NotImplementedError(f"of whole numbers only int64 can be normalised, got {x.dtype}")
