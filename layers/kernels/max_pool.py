"""Max-pooling and its switches: which pixel won, the gather that reads it, the scatter-add back.

For a K_h x K_w window there are K_h*K_w taps; tap (i, j) of every window is one strided slice of
the image.  Nothing is unfolded.  On a CPU loops go from window to window (max_pool_loops.py),
elsewhere operations from tap to tap.

Letters: N images, C channels, H x W pixels, H_out x W_out windows.  `switches` hold, per window,
which tap won, i*K_w + j: one byte where torch keeps an 8-byte index into the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..ops.geometry import Geometry
from ..ops.legacy import channels_last, operator, upcast
from . import max_pool_loops as loops
from .jit import array, has_jit, parallel_for

MIN_ROW_PIXELS = 26  # from which `max_channels_first` is the faster loop,
MAX_STRIDE = 3  # and up to which
CPU_CHUNK = 4 << 20  # bytes of image walked over at a time, so that they stay in the cache


def chunks(image: Tensor) -> Iterator[slice]:
    """A few images at a time on a CPU; elsewhere all, as each operation is one launch."""
    total, size = image.shape[0], image[:1].numel() * image.element_size()
    step = max(1, CPU_CHUNK // max(1, size) if image.is_cpu else total)
    for start in range(0, total, step):
        yield slice(start, start + step)


def is_channels_last(volume: Tensor) -> bool:
    """Not where it lies both ways, as single pixels and single channels do."""
    return volume.is_contiguous(memory_format=torch.channels_last) and not volume.is_contiguous()


def like(volume: Tensor, size: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
    """A new volume with `volume`'s batch, channels and memory format, of another size."""
    last = is_channels_last(volume)
    return torch.empty(
        (*volume.shape[:2], *size),
        dtype=dtype or volume.dtype,
        device=volume.device,
        memory_format=torch.channels_last if last else torch.contiguous_format,
    )


def switch_dtype(geometry: Geometry) -> torch.dtype:
    """One byte for windows of up to 256 taps."""
    kh, kw = geometry.kernel_size
    return torch.uint8 if kh * kw <= 256 else torch.int32


def images(volume: Tensor) -> Any:
    """(N, C, H, W) as an array (N, H, W, C)."""
    return array(volume.contiguous(memory_format=torch.channels_last)).transpose(0, 2, 3, 1)


def maps(volume: Tensor) -> Any:
    """(N, C, H, W) as an array (N*C, H, W)."""
    return array(volume.contiguous().flatten(0, 1))


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
    v = upcast(x) if x.is_cpu else x  # comparisons are exact; a CPU has loops over floats
    y, switches = _empty_max_pool2d(x, geometry, output_size)
    y = y.to(v.dtype)
    if not has_jit(v):
        _max_by_taps(v, y, switches, Geometry.unflatten(geometry))
    elif is_channels_last(v):
        _max_channels_last(v, geometry, y, switches)
    elif v.shape[3] >= MIN_ROW_PIXELS and geometry[3] <= MAX_STRIDE:
        arrays = maps(y), maps(switches)
        parallel_for(
            loops.max_channels_first, len(arrays[0]), v.numel(), maps(v), tuple(geometry), *arrays
        )
    else:
        results = channels_last(y, *y.shape), channels_last(switches, *y.shape)
        _max_channels_last(v, geometry, *results)
        for out, result in zip((y, switches), results, strict=True):
            out.copy_(result)
    return y.to(x.dtype), switches


def _max_channels_last(x: Tensor, geometry: Sequence[int], y: Tensor, switches: Tensor) -> None:
    """y and switches lie channels last; x is copied if it does not."""
    rows, arrays = y.shape[0] * y.shape[2], (images(y), images(switches))
    parallel_for(loops.max_channels_last, rows, x.numel(), images(x), tuple(geometry), *arrays)


def _max_by_taps(x: Tensor, y: Tensor, switches: Tensor, geometry: Geometry) -> None:
    """From the last tap to the first, each taking what it is not less than; five passes a tap."""
    y.fill_(-torch.inf if y.is_floating_point() else torch.iinfo(y.dtype).min)
    switches.zero_()
    taps = geometry.taps(x.shape[2:], y.shape[2:])
    for number in reversed(range(len(taps))):
        value, best = x[taps[number].pixels], y[taps[number].outputs]
        less, is_number = value < best, best == best  # not even NaN surpasses NaN
        wins = torch.lt(less, is_number, out=less)  # `not less and is_number`
        torch.where(wins, value, best, out=best)
        switches[taps[number].outputs].masked_fill_(wins, number)


@operator(fake=lambda x, switches, geometry: like(x, switches.shape[2:]))
def take(x: Tensor, switches: Tensor, geometry: Sequence[int]) -> Tensor:
    """y[n,c,p] = x[n,c, the pixel that p's switch names]: a gather.  (N, C, H_out, W_out)."""
    v = upcast(x) if x.is_cpu else x
    y = like(x, switches.shape[2:], v.dtype)
    if has_jit(v):
        view = images if is_channels_last(y) else single
        arrays = view(v), tuple(geometry), view(switches), view(y)
        parallel_for(loops.gather, len(arrays[0]), v.numel(), *arrays)
    else:
        places, seen = _places(switches, Geometry.unflatten(geometry), x.shape[2:])
        torch.mul(v.flatten(2).gather(2, places).view(y.shape), seen, out=y)
    return y.to(x.dtype)


@operator(fake=lambda y, switches, geometry, image_size: like(y, image_size))
def put(y: Tensor, switches: Tensor, geometry: Sequence[int], image_size: Sequence[int]) -> Tensor:
    """x[n,c, the pixel that p's switch names] += y[n,c,p]: the adjoint of `take`, a scatter-add.

    Where windows overlap, a pixel that won in several of them receives all their values.
    """
    v = upcast(y)
    x = like(y, image_size, v.dtype)
    if has_jit(v):
        last = is_channels_last(x)
        view = images if last else maps
        scatter = loops.scatter_channels_last if last else loops.scatter_channels_first
        arrays = view(v), tuple(geometry), view(switches), view(x)
        parallel_for(scatter, len(arrays[0]), x.numel(), *arrays)
    else:
        places, seen = _places(switches, Geometry.unflatten(geometry), image_size)
        flat = v.new_zeros(*v.shape[:2], x.shape[2] * x.shape[3])
        x.copy_(flat.scatter_add_(2, places, (v * seen).flatten(2)).view(x.shape))
    return x.to(y.dtype)


def rows(volume: Tensor, last: bool) -> Any:
    """As an array (N, H, W*C) or (N*C, H, W)."""
    return images(volume).reshape(*volume.shape[::2], -1) if last else maps(volume)


def single(volume: Tensor) -> Any:
    """(N, C, H, W) as an array (N*C, H, W, 1)."""
    return maps(volume)[..., None]


def pixels_of(switches: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """The rows and the columns of the pixels that the switches point at, int64."""
    (_, kw), (sh, sw), (ph, pw), (dh, dw), _ = geometry
    place = switches.long()
    rows = torch.arange(switches.shape[-2], device=switches.device)[:, None] * sh - ph
    columns = torch.arange(switches.shape[-1], device=switches.device) * sw - pw
    return rows + place // kw * dh, columns + place % kw * dw


def _places(
    switches: Tensor, geometry: Geometry, image_size: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Places row * W + column in the flattened image, and whether there is a pixel at all."""
    height, width = image_size
    rows, columns = pixels_of(switches, geometry)
    seen = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return torch.where(seen, rows * width + columns, 0).flatten(2), seen
