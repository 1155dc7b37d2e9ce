"""Max-pooling as a walk over the positions inside a window, all windows at once.

For a K_h x K_w window there are K_h*K_w taps; tap (i, j) of every window is one strided slice of
the image.  Nothing is unfolded: a maximum is a running maximum over those slices.  The winners are
then known by place: reading them is a gather, its adjoint a scatter-add.
A few images at a time, so that the running values stay in the cache.

Letters: N images, C channels, H x W pixels, H_out x W_out windows.  `switches` hold, per window,
which tap won, i*K_w + j: one byte where torch keeps an 8-byte index into the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from .geometry import Geometry, Tap
from .operator import operator, wide
from .select import bits

CPU_CHUNK = 4 << 20  # bytes of image walked over at a time
CUDA_CHUNK = 256 << 20
LONG_RUN = 16  # channels side by side, from which reading pixels apart twice beats copying them
LONG_ROW = 32  # windows side by side, from which reading rows apart does


def chunks(image: Tensor) -> Iterator[slice]:
    total, size = image.shape[0], image[:1].numel() * image.element_size()
    step = max(1, (CUDA_CHUNK if image.is_cuda else CPU_CHUNK) // max(1, size))
    for start in range(0, total, step):
        yield slice(start, start + step)


def _is_channels_last(volume: Tensor) -> bool:
    """Not where it lies both ways, as single pixels and single channels do."""
    return volume.is_contiguous(memory_format=torch.channels_last) and not volume.is_contiguous()


def _memory_format(volume: Tensor) -> torch.memory_format:
    return torch.channels_last if _is_channels_last(volume) else torch.contiguous_format


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
    values = _values(x, taps, geometry.stride[1], y.shape[3])
    _maxima(list(zip(taps, values, strict=True)), y)
    few = switches.dtype == torch.uint8  # taps, which y's own type can count
    before = torch.zeros_like(y if few else wide(y))
    differs = torch.empty_like(before)
    last = len(taps) - 1  # of which nobody asks whether it differs: one must equal
    for number in reversed(range(last)):
        flags = before if number == last - 1 else differs
        tap, inside = taps[number], flags[taps[number].outputs]
        if inside.shape != flags.shape:
            flags.fill_(1)
        torch.ne(values[number], y[tap.outputs], out=inside)
        if flags is differs:
            torch.addcmul(differs, differs, before, out=before)
    switches.copy_(before)
    if x.is_cuda or y.sum().isnan():  # NaN equals nothing, and the last of several wins
        for number, (tap, value) in enumerate(zip(taps, values, strict=True)):
            here = switches[tap.outputs]
            here.copy_(torch.where(value.isnan(), number, here))


def _maxima(seen: Sequence[tuple[Tap, Tensor]], y: Tensor) -> None:
    """y = the largest of what the taps see, first of those that see an image in every window."""
    whole = [value for _, value in seen if value.shape == y.shape]
    some = [(tap, value) for tap, value in seen if value.shape != y.shape]
    if len(whole) > 1:
        torch.maximum(*whole[:2], out=y)
    else:
        y.copy_(whole[0]) if whole else y.fill_(-torch.inf)
    for value in whole[2:]:
        torch.maximum(y, value, out=y)
    for tap, value in some:
        torch.maximum(y[tap.outputs], value, out=y[tap.outputs])


def _values(x: Tensor, taps: Sequence[Tap], stride: int, width: int) -> list[Tensor]:
    """What each tap of all windows sees, in runs of numbers that are fast to read, and twice.

    Windows lie `width` to a row, `stride` pixels apart.  Where rows are long, every stride-th
    column is set side by side once, for all the taps that read it.
    """
    if _is_channels_last(x) and x.shape[1] >= LONG_RUN:
        return [x[tap.pixels] for tap in taps]
    if _is_channels_last(x) or width < LONG_ROW:
        return [x[tap.pixels].contiguous(memory_format=_memory_format(x)) for tap in taps]
    columns = [x[..., first::stride].contiguous() for first in range(stride)]
    values = []
    for tap in taps:
        _, rows, across = tap.pixels
        first, count = across.start // stride, (across.stop - across.start) // stride
        values.append(columns[across.start % stride][..., rows, first : first + count])
    return values


@operator(fake=lambda x, switches, geometry: like(x, switches.shape[2:]))
def take(x: Tensor, switches: Tensor, geometry: Sequence[int]) -> Tensor:
    """y[n,c,p] = x[n,c, the pixel that p's switch names]: a gather.  (N, C, H_out, W_out)."""
    y, last, shape = like(x, switches.shape[2:]), _is_channels_last(x), Geometry.unflatten(geometry)
    for images, places in _places(switches, x, shape, last):
        torch.gather(_flat(x, last)[images], -1, places, out=_flat(y, last)[images])
    if _may_be_blind(shape):
        y.mul_(_seen(x, switches.shape[2:], shape))
    return y


@operator(fake=lambda y, switches, geometry, image_size: like(y, image_size))
def put(y: Tensor, switches: Tensor, geometry: Sequence[int], image_size: Sequence[int]) -> Tensor:
    """x[n,c, the pixel that p's switch names] += y[n,c,p]: the adjoint of `take`, a scatter-add.

    Where windows overlap, a pixel that won in several of them receives all their values.
    """
    x, last, shape = like(y, image_size), _is_channels_last(y), Geometry.unflatten(geometry)
    if last and shape.tiles(image_size):
        for images in chunks(x):
            _deal(y[images], switches[images], x[images], shape)
        return x
    if _may_be_blind(shape):
        y = y * _seen(x, y.shape[2:], shape)
    for images, places in _places(switches, x, shape, last):
        _flat(x, last)[images].zero_().scatter_add_(-1, places, _flat(y, last)[images])
    return x


def _deal(y: Tensor, switches: Tensor, x: Tensor, geometry: Geometry) -> None:
    """The same where every pixel is in one window: tap by tap, which writes whole runs of channels.

    The bits of a number that won are multiplied by one, of the others by zero (select.py).
    """
    numbers = bits(torch.empty_like(y)).copy_(switches)
    won = torch.empty_like(numbers)
    for number, tap in enumerate(geometry.taps(x.shape[2:], y.shape[2:])):
        torch.eq(numbers, number, out=won)
        torch.mul(won, bits(y), out=bits(x)[tap.pixels])


def _flat(volume: Tensor, last: bool) -> Tensor:
    """The numbers of each map (N, C, H*W), or where channels lie last (N, H*W*C)."""
    return volume.permute(0, 2, 3, 1).flatten(1) if last else volume.flatten(2)


def _may_be_blind(geometry: Geometry) -> bool:
    """Whether all taps of a window may fall into the padding."""
    return geometry.padding != (0, 0) and geometry.dilation != (1, 1)


def _seen(x: Tensor, output_size: Sequence[int], geometry: Geometry) -> Tensor:
    """1 for windows that see a pixel of x, 0 for those in the padding: (H_out, W_out)."""
    seen = x.new_zeros(tuple(output_size))
    for tap in geometry.taps(x.shape[2:], output_size):
        seen[tap.outputs] = 1
    return seen


def _places(
    switches: Tensor, image: Tensor, geometry: Geometry, last: bool
) -> Iterator[tuple[slice, Tensor]]:
    """Where in `_flat(image)` the switches i K_w + j point:  S p + D i - P  rows down, and so on.

    Computed in floats, which a CPU divides many at a time, and integers one by one.
    """
    _, channels, height, width = image.shape
    size, (kh, kw), (dh, dw) = switches.shape[2:], geometry.kernel_size, geometry.dilation
    pixel = channels if last else 1  # numbers to the next pixel
    row = pixel * width
    largest = row * height + kh * kw * dw * pixel  # on the way; floats must have all whole numbers
    dtype = torch.float32 if largest < 1 << 24 else torch.float64
    corners = _corners(geometry, size, row, pixel, dtype, switches.device)
    layout = torch.channels_last if last else torch.contiguous_format
    for images in chunks(image):
        numbers = switches[images].to(dtype, memory_format=layout)
        places = _flat(numbers, last)
        i = (places / kw).floor_()
        torch.add(corners, places, alpha=dw * pixel, out=places)
        places.add_(i, alpha=dh * row - dw * pixel * kw)
        if _may_be_blind(geometry):  # a blind window's place is no pixel's; its number will be 0
            places.clamp_(0, row * height - 1)
        yield images, places.long()


@lru_cache(maxsize=16)  # a network asks for the same few again and again
def _corners(
    geometry: Geometry,
    size: torch.Size,
    row: int,
    pixel: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Where the windows begin: (H_out * W_out * pixel), the channels last if they are."""
    rows, columns = (torch.arange(length, dtype=dtype, device=device) for length in size)
    (sh, sw), (ph, pw) = geometry.stride, geometry.padding
    corners = (rows[:, None] * sh - ph) * row + (columns * sw - pw) * pixel
    return (corners[..., None] + torch.arange(pixel, dtype=dtype, device=device)).flatten()
