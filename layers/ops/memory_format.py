"""In which order torch.nn lays out the numbers of an output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def is_channels_last(x: Tensor) -> bool:
    _, c, h, w = x.shape
    channels_last = h * w * c, 1, w * c, c
    contiguous = c * h * w, h * w, w, 1
    return x.stride() == channels_last and x.stride() != contiguous


def convolution_is_channels_last(x: Tensor, weight: Tensor) -> bool:
    return is_channels_last(x) or is_channels_last(weight)


def empty_images(
    like: Tensor, shape: Sequence[int], channels_last: bool, dtype: torch.dtype | None = None
) -> Tensor:
    """An uninitialised (N, C, H, W) = shape, on like's device."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    dtype = dtype or like.dtype
    return torch.empty(tuple(shape), dtype=dtype, device=like.device, memory_format=layout)
