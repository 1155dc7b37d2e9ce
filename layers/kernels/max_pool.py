"""Max-pooling, and both ways through its switches, by loops (max_pool_loops.py).

Half precision, for which no loops are compiled, is compared and added up in float32.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..ops.dtypes import upcast
from ..ops.geometry import Geometry, Pair
from ..ops.registry import Kernel
from . import max_pool_loops as loops
from .jit import parallel_for, why_not_jit
from .layout import copy, maps, pixels, writable

MIN_ROW_PIXELS = 26  # from which `max_contiguous` is the faster loop,
MAX_STRIDE = 3  # and up to which


def max_channels_last(
    x: Tensor,
    geometry: Geometry,
    output_size: Pair,
    channels_last: bool,
    y: Tensor,
    switches: Tensor,
) -> None:
    """Contiguous maps are copied there and back: of short rows, that is the fastest way."""
    x = upcast(x)
    maxima, winners = writable(y, x.dtype, True), writable(switches, switches.dtype, True)
    arrays = pixels(x), tuple(geometry), pixels(maxima), pixels(winners)
    rows = y.shape[0] * y.shape[2]
    parallel_for(loops.max_channels_last, rows, x.numel(), *arrays)
    copy(maxima, y)
    copy(winners, switches)


def max_contiguous(
    x: Tensor,
    geometry: Geometry,
    output_size: Pair,
    channels_last: bool,
    y: Tensor,
    switches: Tensor,
) -> None:
    x = upcast(x)
    maxima = writable(y, x.dtype, False)
    arrays = maps(x), tuple(geometry), maps(maxima), maps(switches)
    parallel_for(loops.max_contiguous, len(arrays[0]), x.numel(), *arrays)
    copy(maxima, y)


def gather(
    x: Tensor,
    switches: Tensor,
    geometry: Geometry,
    output_size: Pair,
    channels_last: bool,
    y: Tensor,
) -> None:
    x, view = upcast(x), pixels if channels_last else _maps_of_pixels
    values = writable(y, x.dtype, channels_last)
    arrays = view(x), tuple(geometry), view(switches), view(values)
    parallel_for(loops.gather, len(arrays[0]), x.numel(), *arrays)
    copy(values, y)


def scatter(
    y: Tensor,
    switches: Tensor,
    geometry: Geometry,
    image_size: Pair,
    channels_last: bool,
    x: Tensor,
) -> None:
    y, view = upcast(y), pixels if channels_last else maps
    loop = loops.scatter_channels_last if channels_last else loops.scatter_contiguous
    sums = writable(x, y.dtype, channels_last)
    arrays = view(y), tuple(geometry), view(switches), view(sums)
    parallel_for(loop, len(arrays[0]), x.numel(), *arrays)
    copy(sums, x)


def _maps_of_pixels(images: Tensor) -> Any:
    """(N, C, H, W) as an array (N*C, H, W, 1)."""
    return maps(images)[..., None]


def _supports(x: Tensor, *_: Any) -> str | None:
    return why_not_jit(upcast(x[:0]))


def _supports_contiguous(
    x: Tensor, geometry: Geometry, output_size: Pair, channels_last: bool
) -> str | None:
    if channels_last:
        return "the output is channels last"
    if x.shape[3] < MIN_ROW_PIXELS:
        return f"rows have fewer than {MIN_ROW_PIXELS} pixels"
    if geometry.stride[1] > MAX_STRIDE:
        return f"the horizontal stride is more than {MAX_STRIDE}"
    return _supports(x)


MAX_POOL2D_CONTIGUOUS = Kernel("contiguous", max_contiguous, _supports_contiguous)
MAX_POOL2D_CHANNELS_LAST = Kernel("channels_last", max_channels_last, _supports)
MAX_POOL2D_GATHER = Kernel("loops", gather, _supports)
MAX_POOL2D_BACKWARD = Kernel("loops", scatter, _supports)
