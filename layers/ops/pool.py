"""Pooling: the maximum of every window and where it is, sums over windows, and p-norms.

A tap k = (i, j) is a position inside the window.  The pixels that all windows see through it are
one strided slice of the image, so there is a loop over taps and none over windows or images:

    y[tap.outputs]   reads   x[tap.pixels]

Windows that hang over the border have no pixel there; both slices leave them out.
"""

from __future__ import annotations

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from ..interop.memory_format import empty_images
from .conv import unfold
from .dtypes import upcast
from .geometry import Geometry, Pair
from .registry import operator


def _empty(like: Tensor, size: Pair, channels_last: bool) -> Tensor:
    return empty_images(like, (*like.shape[:2], *size), channels_last)


def _empty_max(
    x: Tensor, geometry: Geometry, output_size: Pair, channels_last: bool
) -> tuple[Tensor, Tensor]:
    y = _empty(x, output_size, channels_last)
    return y, torch.empty_like(y, dtype=switch_dtype(geometry))


@operator(empty=_empty_max)
def max_pool2d(x: Tensor, geometry: Geometry, output_size: Pair) -> tuple[Tensor, Tensor]:
    """The largest value of every window, and the number i*K_w + j of the tap that found it.

        y[n,c,p] = max over the taps k of  x[n,c, S p + D k - P]

    x (N, C, H, W) -> y and switches (N, C, *output_size).  The first maximum wins, and NaN beats
    every number, as in torch; hence the taps are taken from the last to the first.
    """
    lowest = -torch.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
    y = x.new_full((*x.shape[:2], *output_size), lowest)
    switches = torch.zeros_like(y, dtype=switch_dtype(geometry))
    for number, tap in reversed([*enumerate(geometry.taps(x.shape[2:], output_size))]):
        value, best = x[tap.pixels], y[tap.outputs]
        wins = ~((value < best) | best.isnan())  # an equal value, too; nothing beats NaN
        torch.where(wins, value, best, out=best)
        switches[tap.outputs].masked_fill_(wins, number)
    return y, switches


@operator(
    empty=lambda x, switches, geometry, output_size, channels_last: _empty(
        x, output_size, channels_last
    )
)
def max_pool2d_gather(x: Tensor, switches: Tensor, geometry: Geometry) -> Tensor:
    """Read every window where its switch points.

        y[n,c,p] = x[n,c, S p + D k - P],  k = switches[n,c,p]

    x (N, C, H, W), switches (N, C, H_out, W_out) -> y (N, C, H_out, W_out).
    """
    y = x.new_zeros(switches.shape)
    for number, tap in enumerate(geometry.taps(x.shape[2:], switches.shape[2:])):
        value, chosen = x[tap.pixels], y[tap.outputs]
        chosen.copy_(torch.where(switches[tap.outputs] == number, value, chosen))
    return y


@operator(
    empty=lambda y, switches, geometry, image_size, channels_last: _empty(
        y, image_size, channels_last
    )
)
def max_pool2d_backward(
    y: Tensor, switches: Tensor, geometry: Geometry, image_size: Pair
) -> Tensor:
    """The adjoint of `max_pool2d_gather`: a pixel that won several windows receives their sum.

        x[n,c, S p + D k - P] += y[n,c,p],  k = switches[n,c,p]

    y and switches (N, C, H_out, W_out) -> x (N, C, *image_size).
    """
    values = upcast(y)
    x = values.new_zeros(*y.shape[:2], *image_size)
    for number, tap in enumerate(geometry.taps(image_size, y.shape[2:])):
        won = switches[tap.outputs] == number
        x[tap.pixels].add_(torch.where(won, values[tap.outputs], 0))
    return x.to(y.dtype)


def switch_dtype(geometry: Geometry) -> torch.dtype:
    """One byte, for windows of up to 256 taps."""
    kh, kw = geometry.kernel_size
    return torch.uint8 if kh * kw <= 256 else torch.int32


@operator(
    empty=lambda x, geometry, output_size, channels_last: _empty(x, output_size, channels_last)
)
def window_sum(x: Tensor, geometry: Geometry, output_size: Pair) -> Tensor:
    """y[n,c,p] = sum over the taps k of  x[n,c, S p + D k - P].

    x (N, C, H, W) -> y (N, C, *output_size).
    """
    return sum_windows(upcast(x), geometry, output_size).to(x.dtype)


@operator(empty=lambda y, geometry, image_size, channels_last: _empty(y, image_size, channels_last))
def window_sum_backward(y: Tensor, geometry: Geometry, image_size: Pair) -> Tensor:
    """The adjoint of `window_sum`:  x[n,c, S p + D k - P] += y[n,c,p].

    y (N, C, H_out, W_out) -> x (N, C, *image_size).
    """
    return spread_windows(upcast(y), geometry, image_size).to(y.dtype)


@operator(
    empty=lambda x, p, geometry, output_size, channels_last: _empty(x, output_size, channels_last)
)
def lp_pool2d(x: Tensor, p: float, geometry: Geometry, output_size: Pair) -> Tensor:
    """The p-norm of every window.

        y[n,c,q] = (sum over the taps k of  |x[n,c, S q + D k - P]|^p)^(1/p)

    x (N, C, H, W) -> y (N, C, *output_size).
    """
    return (sum_windows(upcast(x).abs() ** p, geometry, output_size) ** (1 / p)).to(x.dtype)


@operator(empty=lambda dy, x, y, p, geometry, channels_last: _empty(x, x.shape[2:], channels_last))
def lp_pool2d_backward(dy: Tensor, x: Tensor, y: Tensor, p: float, geometry: Geometry) -> Tensor:
    """The gradient of `lp_pool2d`, which torch can differentiate again.

        dx = sign(x) |x|^(p-1) * sum over the windows q that see the pixel of  dy[q] y[q]^(1-p)

    dy and y (N, C, H_out, W_out), x (N, C, H, W) -> dx (N, C, H, W).
    """
    share = upcast(dy) * root_slope(upcast(y), p)
    image_size = (x.shape[2], x.shape[3])
    return (power_slope(upcast(x), p) * spread_windows(share, geometry, image_size)).to(x.dtype)


def power_slope(x: Tensor, p: float) -> Tensor:
    """sign(x) |x|^(p-1), the slope of |x|^p / p."""
    return x if p == 2 else x.sign() * x.abs() ** (p - 1)


def root_slope(y: Tensor, p: float) -> Tensor:
    """y^(1-p).  Where y = 0 it is infinite, but 0 is a subgradient of the norm, and is taken."""
    black = y == 0
    return torch.where(black, 0, torch.where(black, 1, y) ** (1 - p))


def sum_windows(x: Tensor, geometry: Geometry, output_size: Pair) -> Tensor:
    """`window_sum`, in operations that torch can differentiate: down the columns, then along."""
    down, along = geometry.axes()
    columns = _sum_taps(unfold(x, down, (output_size[0], x.shape[3])))
    return _sum_taps(unfold(columns, along, output_size))


def spread_windows(y: Tensor, geometry: Geometry, image_size: Pair) -> Tensor:
    """Its adjoint: every pixel adds up the windows that see it.

    They are a window themselves, at stride 1, of y with S - 1 zeros between its values.
    """
    (sh, sw), (ph, pw), (span_h, span_w) = geometry.stride, geometry.padding, geometry.span
    spaced = F.pad(y[:, :, :, None, :, None], (0, sw - 1, 0, 0, 0, sh - 1))
    transposed = geometry._replace(stride=(1, 1), padding=(span_h - 1 - ph, span_w - 1 - pw))
    return sum_windows(spaced.flatten(4, 5).flatten(2, 3), transposed, image_size)


def _sum_taps(windows: Tensor) -> Tensor:
    """(..., K_h, K_w), one of which is 1, summed over both, tap by tap."""
    return reduce(torch.add, windows.flatten(-2).unbind(-1))
