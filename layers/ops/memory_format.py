"""In which order torch.nn lays out the numbers of an output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def convolution_is_channels_last(x: Tensor, weight: Tensor) -> bool:
    return is_channels_last(x) or is_channels_last(weight)


def empty_images(
    like: Tensor, shape: Sequence[int], channels_last: bool, dtype: torch.dtype | None = None
) -> Tensor:
    """An uninitialised (N, C, H, W) = shape, on like's device."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    dtype = dtype or like.dtype
    return torch.empty(tuple(shape), dtype=dtype, device=like.device, memory_format=layout)
