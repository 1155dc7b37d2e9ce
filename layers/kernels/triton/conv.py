"""Convolution and its gradient by the image on a GPU, as implicit GEMM (implicit_gemm.py).

**Forward.**  An output (n, p, q) sees through tap (i, j) the pixel

    x[n, ci, S p + D i - P, S q + D j - P]

**The gradient by the image** is the same product, of every pixel with the outputs that have seen
it.  Which ones, and through which taps?  Along one axis

    S p + D i - P = h,   hence   h = D i - P  (mod S)

so pixels fall into S phases by their remainder, and each tap belongs to one phase.  The remainder
of D i comes back after  C = S / gcd(S, D)  taps: those of a phase are  f, f + C, f + 2 C, ... with
a first one  f < C,  and its pixels are  h = a, a + S, a + 2 S, ... with  a = (D f - P) mod S.  So
pixel  h = a + S u  was seen through tap  i = f + C t  by

    p = u + (a - D f + P) / S - (D C / S) t

where both divisions leave nothing.  That is a convolution with stride 1, every C-th tap of the
filters, and dilation D C / S, backwards.  With S = 2, D = 1, P = 1 and K = 3, which outputs p see
the pixels h of a row:

    h                         0     1     2     3     4
    a = 0:  tap 1             0           1           2
    a = 1:  taps 0 and 2            1, 0        2, 1

No pixel is asked about a tap through which none of its phase was seen, as it would be if all pixels
went through all taps.  If gcd(S, D) > 1, only C of the S phases have taps.  The others are zeros,
as is every pixel that no window sees.  In the plane a phase is a pair of these, and all of them are
one launch.
"""

from __future__ import annotations

from math import gcd, prod

from torch import Tensor

from ...ops.geometry import Geometry, Pair
from ...ops.registry import Kernel
from . import runtime
from .implicit_gemm import (
    adjacent,
    configuration,
    multiply,
    precision,
    store,
    why_not,
)  # fmt: skip
from .pixels import alignment
from .runtime import cdiv, jit, tl
from .windows import split


@jit
def conv2d_kernel(
    x, w, y, x_n, x_c, x_h, x_w, w_o, w_c, w_i, w_j, y_n, y_c, y_h, y_w,
    pixels, x_height, x_width, height, width, channels, filters,
    KH, KW, SH, SW, PH, PW, DH, DW, LAST: tl.constexpr, PRECISION: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    """Programs that follow each other see the same pixels, which they find in the cache."""
    number = tl.program_id(0)
    o = number % tl.cdiv(filters, BN) * BN + tl.arange(0, BN)
    number //= tl.cdiv(filters, BN)
    m = number % tl.cdiv(pixels, BM) * BM + tl.arange(0, BM)
    group = number // tl.cdiv(pixels, BM)
    n, p, q = split(tl.where(m < pixels, m, 0), height, width)
    image = n * x_n + group * channels * x_c
    of_group = group * filters
    acc = multiply(
        x, w, image, p * SH - PH, q * SW - PW, (of_group + tl.where(o < filters, o, 0)) * w_o,
        x_height, x_width, KH, KW, channels, DH, DW, x_c, x_h, x_w, w_c, w_i, w_j,
        PRECISION, BM, BN, BK, ALIGN,
    )  # fmt: skip
    output = n * y_n + p * y_h + q * y_w
    store(y, acc, output, of_group + o, m < pixels, o < filters, y_c, LAST)


@jit
def conv2d_input_kernel(
    g, w, x, g_n, g_o, g_h, g_w, w_c, w_o, w_i, w_j, x_n, x_c, x_h, x_w,
    pixels, g_height, g_width, height, width, channels, filters,
    KH, KW, SH, SW, PH, PW, DH, DW, CH, CW, LAST: tl.constexpr, PRECISION: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    """`pixels` are those of a phase; programs that follow each other see the same outputs."""
    number = tl.program_id(0)
    c = number % tl.cdiv(channels, BN) * BN + tl.arange(0, BN)
    number //= tl.cdiv(channels, BN)
    phase = number % (SH * SW)
    number //= SH * SW
    m = number % tl.cdiv(pixels, BM) * BM + tl.arange(0, BM)
    group = number // tl.cdiv(pixels, BM)
    n, u, v = split(tl.where(m < pixels, m, 0), tl.cdiv(height, SH), tl.cdiv(width, SW))
    taps_h, i, row, p = _phase(phase // SW, KH, SH, PH, DH, CH)
    taps_w, j, column, q = _phase(phase % SW, KW, SW, PW, DW, CW)
    image = n * g_n + group * filters * g_o
    of_tap = group * filters * w_o + i * w_i + j * w_j
    acc = multiply(
        g, w, image, u + p, v + q, of_tap + tl.where(c < channels, c, 0) * w_c,
        g_height, g_width, taps_h, taps_w, filters, -(DH * CH // SH), -(DW * CW // SW),
        g_o, g_h, g_w, w_o, CH * w_i, CW * w_j, PRECISION, BM, BN, BK, ALIGN,
    )  # fmt: skip
    row += u * SH
    column += v * SW
    exists = (m < pixels) & (row < height) & (column < width)
    output = n * x_n + row * x_h + column * x_w
    store(x, acc, output, group * channels + c, exists, c < channels, x_c, LAST)


@jit
def _phase(number, K, S, P, D, C):
    """Along one axis: (how many taps, the first, its first pixel, the output that sees that)."""
    first = number % C
    offset = D * first + number // C - P  # of number >= C no tap has the remainder
    pixel = (offset + P * S) % S
    taps = tl.where((number < C) & (first < K), (K - first + C - 1) // C, 0)
    return taps, first, pixel, (pixel - offset) // S


def conv2d(
    x: Tensor, weight: Tensor, geometry: Geometry, channels_last: bool, algorithm: str, y: Tensor
) -> None:
    if not y.numel():
        return
    channels, filters = weight.shape[1], len(weight) // geometry.groups
    x, weight = adjacent(x, channels), adjacent(weight, channels)
    align = min(alignment(x, channels), alignment(weight, channels))
    digits = precision(x.dtype, algorithm)
    blocks = configuration(filters, align, x.dtype, digits)
    pixels = y.numel() // y.shape[1]
    programs = geometry.groups * cdiv(pixels, blocks["BM"]) * cdiv(filters, blocks["BN"])
    runtime.launch(
        conv2d_kernel, programs, x, weight, y, *x.stride(), *weight.stride(), *y.stride(),
        pixels, *x.shape[2:], *y.shape[2:], channels, filters, *geometry.flatten()[:8],
        LAST=channels_last, PRECISION=digits, ALIGN=align, **blocks,
    )  # fmt: skip


def conv2d_input(
    weight: Tensor,
    g: Tensor,
    geometry: Geometry,
    image_size: Pair,
    channels_last: bool,
    algorithm: str,
    x: Tensor,
) -> None:
    if not x.numel():
        return
    channels, filters = weight.shape[1], len(weight) // geometry.groups
    g, turned = adjacent(g, filters), adjacent(weight.transpose(0, 1), filters)
    align = min(alignment(g, filters), alignment(turned, filters))
    digits = precision(g.dtype, algorithm)
    stride, dilation = geometry.stride, geometry.dilation
    blocks = configuration(
        channels, align, g.dtype, digits, gaps=not channels_last and stride[1] > 1
    )
    cycle = [s // gcd(s, d) for s, d in zip(stride, dilation, strict=True)]
    pixels = len(x) * prod(cdiv(*pair) for pair in zip(image_size, stride, strict=True))
    programs = geometry.groups * cdiv(pixels, blocks["BM"]) * prod(stride)
    runtime.launch(
        conv2d_input_kernel, programs * cdiv(channels, blocks["BN"]), g, turned, x,
        *g.stride(), *turned.stride(), *x.stride(), pixels, *g.shape[2:], *image_size,
        channels, filters, *geometry.flatten()[:8], *cycle,
        LAST=channels_last, PRECISION=digits, ALIGN=align, **blocks,
    )  # fmt: skip


def _supports(x: Tensor, weight: Tensor, geometry: Geometry, _: bool, algorithm: str) -> str | None:
    numbers = len(x) * len(weight) * prod(geometry.output_size(x.shape[2:]))
    return why_not(x, weight, geometry, weight.shape[1], numbers, algorithm)


def _supports_input(
    weight: Tensor, g: Tensor, geometry: Geometry, image_size: Pair, _: bool, algorithm: str
) -> str | None:
    numbers = len(g) * weight.shape[1] * geometry.groups * prod(image_size)
    return why_not(weight, g, geometry, weight.shape[1], numbers, algorithm)


CONV2D = Kernel("triton", conv2d, _supports)
CONV2D_INPUT = Kernel("triton", conv2d_input, _supports_input)
