"""Images as the arrays that loops run over, in either memory format."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .jit import array


def pixels(images: Tensor) -> Any:
    """(N, C, H, W) as an array (N, H, W, C); copied if not channels last."""
    return array(images.contiguous(memory_format=torch.channels_last)).transpose(0, 2, 3, 1)


def maps(images: Tensor) -> Any:
    """(N, C, H, W) as an array (N*C, H, W); copied if not contiguous."""
    return array(images.contiguous().flatten(0, 1))


def rows(images: Tensor, channels_last: bool) -> Any:
    """(N, C, H, W) as an array (N, H, W*C), or (N*C, H, W); copied if in another format."""
    if not channels_last:
        return maps(images)
    return pixels(images).reshape(*images.shape[::2], -1)


def writable(output: Tensor, dtype: torch.dtype, channels_last: bool) -> Tensor:
    """The output itself if it is of that dtype and format, or else memory to `copy` to it."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    if output.dtype == dtype and output.is_contiguous(memory_format=layout):
        return output
    return torch.empty_like(output, dtype=dtype, memory_format=layout)


def copy(result: Tensor, output: Tensor) -> None:
    """What was computed in `writable(output, ...)`, to the output."""
    if result is not output:
        output.copy_(result)
