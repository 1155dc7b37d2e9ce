"""Images as the arrays that loops run over, in either memory format."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..ops.dtypes import upcast_dtype
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


def is_dense(x: Tensor) -> bool:
    """Whether loops can run over x (N, C, ...) along memory: contiguous, or channels last."""
    return x.is_contiguous() or x.movedim(1, -1).is_contiguous()


def as_maps_or_pixels(like: Tensor, *images: Tensor) -> tuple[bool, list[Any]]:
    """Whether `like`, which is dense, is channels last; and all images in that memory format.

    As pixels (M, C) if so, otherwise as maps (N, C, P); copied only if strided otherwise.
    """
    arrays, channels = [array(image) for image in images], like.shape[1]
    if like.stride(1) == 1:
        order = 0, *range(2, like.dim()), 1
        arrays = [a.transpose(order).reshape(a.size // max(1, channels), channels) for a in arrays]
        return True, [np.ascontiguousarray(a) for a in arrays]
    shape = len(like), channels, prod(like.shape[2:])
    return False, [np.ascontiguousarray(a.reshape(shape)) for a in arrays]


def writable(output: Tensor, dtype: torch.dtype, channels_last: bool) -> Tensor:
    """The output itself if it is of that dtype and format, or else memory to `copy` to it."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    if output.dtype == dtype and output.is_contiguous(memory_format=layout):
        return output
    return torch.empty_like(output, dtype=dtype, memory_format=layout)


def upcast_output(output: Tensor) -> Tensor:
    """The output itself, or float32 memory with its strides if it is of half precision."""
    dtype = upcast_dtype(output)
    return output if output.dtype == dtype else torch.empty_like(output, dtype=dtype)


def copy(result: Tensor, output: Tensor) -> None:
    """What was computed in `writable` or `upcast_output`, to the output."""
    if result is not output:
        output.copy_(result)
