"""Norms of windows and their gradient, for a CPU.

The L2 norm is computed by loops (lp_pool_loops.py), any other in torch's operations, a few images
at a time.  Of half precision, all in float32.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..ops.dtypes import upcast, upcast_dtype
from ..ops.geometry import Geometry, Pair
from ..ops.pool import power_slope, root_slope
from ..ops.registry import Kernel
from . import lp_pool_loops as loops
from .jit import parallel_for, why_not_jit
from .layout import copy, rows, writable
from .window_sum import chunks, spread_windows, sum_windows


def l2_pool(
    x: Tensor, p: float, geometry: Geometry, output_size: Pair, channels_last: bool, y: Tensor
) -> None:
    x = upcast(x)
    norms = writable(y, x.dtype, channels_last)
    source, target = (rows(images, channels_last) for images in (x, norms))
    lanes, parts = x.shape[1] if channels_last else 1, target.shape[0] * target.shape[1]
    arrays = source, tuple(geometry), lanes, target
    parallel_for(loops.l2_pool, parts, x.numel(), *arrays)
    copy(norms, y)


def l2_pool_backward(
    dy: Tensor, x: Tensor, y: Tensor, p: float, geometry: Geometry, channels_last: bool, dx: Tensor
) -> None:
    dy, x, y = upcast(dy), upcast(x), upcast(y)
    gradient = writable(dx, x.dtype, channels_last)
    *given, target = (rows(images, channels_last) for images in (dy, x, y, gradient))
    lanes = x.shape[1] if channels_last else 1
    arrays = *given, tuple(geometry), lanes, target
    parallel_for(loops.l2_pool_backward, len(target), 2 * x.numel(), *arrays)
    copy(gradient, dx)


def lp_pool(
    x: Tensor, p: float, geometry: Geometry, output_size: Pair, channels_last: bool, y: Tensor
) -> None:
    for some in chunks(x):
        norms = writable(y[some], upcast_dtype(y), channels_last)
        sum_windows(upcast(x[some]).abs().pow_(p), geometry, channels_last, norms)
        norms.pow_(1 / p)
        copy(norms, y[some])


def lp_pool_backward(
    dy: Tensor, x: Tensor, y: Tensor, p: float, geometry: Geometry, channels_last: bool, dx: Tensor
) -> None:
    for some in chunks(x):
        gradient = writable(dx[some], upcast_dtype(dx), channels_last)
        share = upcast(dy[some]) * root_slope(upcast(y[some]), p)
        spread_windows(share, geometry, channels_last, gradient)
        gradient.mul_(power_slope(upcast(x[some]), p))
        copy(gradient, dx[some])


def _supports_l2(x: Tensor, p: float, geometry: Geometry, *_: Any) -> str | None:
    if p != 2:
        return "it is no L2 norm"
    if geometry.padding != (0, 0) or geometry.dilation != (1, 1):
        return "windows are padded or dilated"
    return why_not_jit(upcast(x[:0]))


def _supports_l2_backward(dy: Tensor, x: Tensor, y: Tensor, *options: Any) -> str | None:
    return _supports_l2(x, *options)


def _supports(images: Tensor, *_: Any) -> str | None:
    return None if images.is_cpu else "the order of the sums is for a CPU's cache"


L2_POOL2D = Kernel("l2_loops", l2_pool, _supports_l2)
LP_POOL2D = Kernel("by_axes", lp_pool, _supports)
L2_POOL2D_BACKWARD = Kernel("l2_loops", l2_pool_backward, _supports_l2_backward)
LP_POOL2D_BACKWARD = Kernel("by_axes", lp_pool_backward, _supports)
