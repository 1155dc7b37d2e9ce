"""Pooling as a walk over the positions inside a window, all windows at once.

For a K_h x K_w window there are K_h*K_w taps; tap (i, j) of every window is one strided slice of
the image.  Nothing is unfolded: a maximum is a running maximum over those slices, a sum a running
sum.  A few images at a time, so that the running values stay in the cache.

Letters: N images, C channels, H x W pixels, H_out x W_out windows.  `switches` hold, per window,
which tap won, i*K_w + j: one byte where torch keeps an 8-byte index into the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .geometry import Geometry
from .operator import operator
from .select import differ, equal, integers_like, select, select_into

CPU_CHUNK = 4 << 20  # bytes of image walked over at a time
CUDA_CHUNK = 256 << 20


def chunks(image: Tensor) -> Iterator[slice]:
    total, size = image.shape[0], image[:1].numel() * image.element_size()
    step = max(1, (CUDA_CHUNK if image.is_cuda else CPU_CHUNK) // max(1, size))
    for start in range(0, total, step):
        yield slice(start, start + step)


def _memory_format(volume: Tensor) -> torch.memory_format:
    last = volume.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last and not volume.is_contiguous() else torch.contiguous_format


def like(volume: Tensor, size: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
    """A new volume with `volume`'s batch, channels and memory format, of another size."""
    return torch.empty(
        (*volume.shape[:2], *size),
        dtype=dtype or volume.dtype,
        device=volume.device,
        memory_format=_memory_format(volume),
    )


def switch_dtype(geometry: Geometry) -> torch.dtype:
    """One byte for windows of up to 256 taps."""
    kh, kw = geometry.kernel_size
    return torch.uint8 if kh * kw <= 256 else torch.int32


def _empty_max_pool2d(
    x: Tensor, geometry: Sequence[int], output_size: Sequence[int]
) -> tuple[Tensor, Tensor]:
    dtype = switch_dtype(Geometry.unflatten(geometry))
    return like(x, output_size), like(x, output_size, dtype)


@operator(fake=_empty_max_pool2d)
def max_pool2d(
    x: Tensor, geometry: Sequence[int], output_size: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """x (N, C, H, W) -> y and switches (N, C, *output_size).  First maximum wins; NaN beats all."""
    shape = Geometry.unflatten(geometry)
    y, switches = _empty_max_pool2d(x, geometry, output_size)
    for images in chunks(x):
        _max_pool2d(x[images], y[images], switches[images], shape)
    return y, switches


def _max_pool2d(x: Tensor, y: Tensor, switches: Tensor, geometry: Geometry) -> None:
    """First the maxima; then a switch is the number of taps before the first that equals it.

    Counted from the last tap on:  before = differs * (1 + before), zero where this tap equals.
    """
    taps = geometry.taps(x.shape[2:], y.shape[2:])
    layout = _memory_format(x)
    values = [x[tap.pixels].contiguous(memory_format=layout) for tap in taps]  # read x once
    whole = geometry.padding == (0, 0)  # then the first tap of every window is inside
    y.copy_(values[0]) if whole else y.fill_(-torch.inf)
    for tap, value in zip(taps[whole:], values[whole:], strict=True):
        torch.maximum(y[tap.outputs], value, out=y[tap.outputs])
    before = torch.zeros_like(y)  # in y's own type
    for tap, value in zip(taps[-2::-1], values[-2::-1], strict=True):
        before.add_(1)
        before[tap.outputs].mul_(differ(value, y[tap.outputs]))
    switches.copy_(before)
    if x.is_cuda or y.sum().isnan():  # NaN equals nothing, and the last of several wins
        for number, (tap, value) in enumerate(zip(taps, values, strict=True)):
            here = switches[tap.outputs]
            here.copy_(torch.where(value.isnan(), number, here))


@operator(fake=lambda x, switches, geometry: like(x, switches.shape[2:]))
def take(x: Tensor, switches: Tensor, geometry: Sequence[int]) -> Tensor:
    """y[n,c,p] = x[n,c, the pixel that p's switch names]: a gather.  (N, C, H_out, W_out)."""
    shape = Geometry.unflatten(geometry)
    y = like(x, switches.shape[2:]).zero_()
    for images in chunks(x):
        image, switch, out = x[images], integers_like(switches[images], x), y[images]
        for number, tap in enumerate(shape.taps(x.shape[2:], y.shape[2:])):
            here = equal(switch[tap.outputs], number)
            out[tap.outputs].add_(select(image[tap.pixels], here))
    return y


@operator(fake=lambda y, switches, geometry, image_size: like(y, image_size))
def put(y: Tensor, switches: Tensor, geometry: Sequence[int], image_size: Sequence[int]) -> Tensor:
    """x[n,c, the pixel that p's switch names] += y[n,c,p]: the adjoint of `take`, a scatter-add.

    Where windows overlap, a pixel that won in several of them receives all their values.
    """
    shape = Geometry.unflatten(geometry)
    x = like(y, image_size)
    if not shape.tiles(image_size):
        x.zero_()
    for images in chunks(x):
        image, switch, values = x[images], integers_like(switches[images], y), y[images]
        for number, tap in enumerate(shape.taps(image_size, y.shape[2:])):
            here = equal(switch[tap.outputs], number)
            if shape.overlaps:
                image[tap.pixels].add_(select(values[tap.outputs], here))
            else:
                select_into(image[tap.pixels], values[tap.outputs], here)
    return x


@operator(fake=lambda x, geometry, output_size: like(x, output_size))
def window_sum(x: Tensor, geometry: Sequence[int], output_size: Sequence[int]) -> Tensor:
    """y[n,c,p] = sum over the taps k of  x[n,c, S p + D k - P].  (N, C, *output_size).

    First down the columns, then along the rows: K_h + K_w additions instead of K_h * K_w.
    """
    y = like(x, output_size)
    down, along = Geometry.unflatten(geometry).axes()
    for images in chunks(x):
        columns = like(x[images], (output_size[0], x.shape[3]))
        _add_windows(x[images], columns, down)
        _add_windows(columns, y[images], along)
    return y


@operator(fake=lambda y, geometry, image_size: like(y, image_size))
def window_spread(y: Tensor, geometry: Sequence[int], image_size: Sequence[int]) -> Tensor:
    """x[n,c, S p + D k - P] += y[n,c,p]: the adjoint of `window_sum`.  (N, C, *image_size)."""
    x = like(y, image_size)
    down, along = Geometry.unflatten(geometry).axes()
    for images in chunks(x):
        columns = like(y[images], (y.shape[2], image_size[1]))
        _add_to_windows(y[images], columns, along)
        _add_to_windows(columns, x[images], down)
    return x


def _add_windows(x: Tensor, y: Tensor, geometry: Geometry) -> None:
    """y = the sum of every window of x."""
    first, *others = geometry.taps(x.shape[2:], y.shape[2:])
    if geometry.padding == (0, 0):  # the first tap of every window is inside
        y.copy_(x[first.pixels])
    else:
        y.zero_()[first.outputs].copy_(x[first.pixels])
    for tap in others:
        y[tap.outputs].add_(x[tap.pixels])


def _add_to_windows(y: Tensor, x: Tensor, geometry: Geometry) -> None:
    """x = for every pixel the sum over the windows that see it: the adjoint."""
    tiles = geometry.tiles(x.shape[2:])
    x = x if tiles else x.zero_()
    for tap in geometry.taps(x.shape[2:], y.shape[2:]):
        if tiles:
            x[tap.pixels].copy_(y[tap.outputs])
        else:
            x[tap.pixels].add_(y[tap.outputs])
