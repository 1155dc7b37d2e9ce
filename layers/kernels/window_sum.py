"""Sums over windows and their adjoint in torch's operations, for a CPU.

A few images at a time, so that the sums down the columns are still in the cache when they are added
up along the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from ..interop.dry_run import few
from ..interop.memory_format import empty_images
from ..ops.dtypes import HALF_PRECISION
from ..ops.geometry import Geometry, Pair
from ..ops.registry import Kernel

CHUNK = 4 << 20  # bytes of images taken at a time


def window_sum(
    x: Tensor, geometry: Geometry, output_size: Pair, channels_last: bool, y: Tensor
) -> None:
    for some in chunks(x):
        sum_windows(x[some], geometry, channels_last, y[some])


def window_sum_backward(
    y: Tensor, geometry: Geometry, image_size: Pair, channels_last: bool, x: Tensor
) -> None:
    for some in chunks(x):
        spread_windows(y[some], geometry, channels_last, x[some])


def chunks(images: Tensor) -> Iterator[slice]:
    size = images[:1].numel() * images.element_size()
    step = max(1, CHUNK // max(1, size))
    for start in few(range(0, len(images), step)):
        yield slice(start, start + step)


def sum_windows(x: Tensor, geometry: Geometry, channels_last: bool, y: Tensor) -> None:
    """Down the columns of a chunk, then along its rows."""
    down, along = geometry.axes()
    columns = empty_images(x, (*x.shape[:2], y.shape[2], x.shape[3]), channels_last)
    _sum_taps(x, down, columns)
    _sum_taps(columns, along, y)


def spread_windows(y: Tensor, geometry: Geometry, channels_last: bool, x: Tensor) -> None:
    """The adjoint: back along the rows, then up the columns."""
    down, along = geometry.axes()
    columns = empty_images(y, (*y.shape[:2], y.shape[2], x.shape[3]), channels_last)
    _spread_taps(y, along, columns)
    _spread_taps(columns, down, x)


def _sum_taps(x: Tensor, geometry: Geometry, y: Tensor) -> None:
    first, *others = geometry.taps(x.shape[2:], y.shape[2:])
    if geometry.padding != (0, 0):  # else the first tap of every window is inside
        y.zero_()
    y[first.outputs].copy_(x[first.pixels])
    for tap in others:
        y[tap.outputs].add_(x[tap.pixels])


def _spread_taps(y: Tensor, geometry: Geometry, x: Tensor) -> None:
    taps = geometry.taps(x.shape[2:], y.shape[2:])
    if _tiles(geometry, x.shape[2:]):  # every pixel is in one window
        for tap in taps:
            x[tap.pixels].copy_(y[tap.outputs])
        return
    x.zero_()
    for tap in taps:
        x[tap.pixels].add_(y[tap.outputs])


def _tiles(geometry: Geometry, image_size: Sequence[int]) -> bool:
    """Whether the windows cover every pixel exactly once."""
    return (
        geometry.kernel_size == geometry.stride
        and geometry.padding == (0, 0)
        and geometry.dilation == (1, 1)
        and all(size % k == 0 for size, k in zip(image_size, geometry.kernel_size, strict=True))
    )


def _supports(images: Tensor, *_: Any) -> str | None:
    if not images.is_cpu:
        return "the order of the sums is for a CPU's cache"
    if images.dtype in HALF_PRECISION:
        return "half precision is not added up in float32"
    return None


WINDOW_SUM = Kernel("by_axes", window_sum, _supports)
WINDOW_SUM_BACKWARD = Kernel("by_axes", window_sum_backward, _supports)
