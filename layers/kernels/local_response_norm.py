"""Local response normalisation in one pass over a batch: every pixel's channels in a scratch."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..interop.memory_format import elementwise_like
from ..ops.dtypes import upcast
from ..ops.registry import Kernel
from . import local_response_norm_loops as loops
from .jit import parallel_for, why_not_jit
from .layout import as_maps_or_pixels, copy, is_dense, upcast_output

WORK = 8  # times as much for each number as copying it


def local_response_norm(
    x: Tensor, size: int, alpha: float, beta: float, k: float, y: Tensor
) -> None:
    result = upcast_output(y)
    as_pixels, (source, target) = as_maps_or_pixels(result, upcast(x), result)
    arguments = source, size, alpha, beta, k, target
    total = _blocks(source, as_pixels)
    parallel_for(loops.local_response_norm, total, WORK * source.size, *arguments)
    copy(result, y)


def local_response_norm_backward(
    dy: Tensor, x: Tensor, size: int, alpha: float, beta: float, k: float, dx: Tensor
) -> None:
    result = upcast_output(dx)
    as_pixels, (left, right, target) = as_maps_or_pixels(result, upcast(dy), upcast(x), result)
    arguments = left, right, size, alpha, beta, k, target
    total = _blocks(left, as_pixels)
    parallel_for(loops.local_response_norm_backward, total, WORK * left.size, *arguments)
    copy(result, dx)


def _blocks(source: Any, as_pixels: bool) -> int:
    """Pixels, or blocks of pixels of an image, that the loops take one after the other."""
    return len(source) if as_pixels else len(source) * -(-source.shape[2] // loops.PIXELS)


def _supports(like: Tensor, *others: Any) -> str | None:
    """Of x for y, and of dy for dx."""
    reason = why_not_jit(upcast(like[:0]))
    if reason is None and not is_dense(elementwise_like(like)):
        reason = "the output is neither contiguous nor channels last"
    return reason


LOCAL_RESPONSE_NORM = Kernel("loops", local_response_norm, _supports)
LOCAL_RESPONSE_NORM_BACKWARD = Kernel("loops", local_response_norm_backward, _supports)
