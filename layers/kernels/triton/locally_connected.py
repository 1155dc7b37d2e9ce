"""The locally connected layer on a GPU: at every position a small product of its own.

    locally_connected2d          y[n,c] = sum over k of     x[n,k] w[k,c]      at every position
    locally_connected2d_weight   w[k,c] = sum over n of     x[n,k] y[n,c]      at every position
    locally_connected2d_input    x[n,c] = sum over u,v,co of  y[n,co] w[tap,c,co]   at every pixel

Letters as in the definition: n image, k tap and channel inside a window, c filter of a group.
Most of the bytes are weights, and there is no reuse of them but by the images of the batch:

    memory of the weights, in order        [ position 0, group 0: K x C ][ position 0, group 1 ] ...
    programs, in order                     | images 0-31 | images 32-63 | images 0-31 ...

so a program multiplies some images with the weights of one position, and the next programs take the
other images, while those weights are still in the cache.  The gradient by the images is a gather:
a pixel asks the windows that see it (max_pool.py says which), so that there are no atomics.
"""

from __future__ import annotations

from math import prod
from typing import Any

from torch import Tensor

from ...interop.precision import conv_precision
from ...ops.geometry import Geometry, Pair
from ...ops.registry import Kernel
from . import runtime
from .pixels import block_of, channels_adjacent, strides, take_block
from .runtime import cdiv, jit, tl

IMAGES = 32  # of a program, or of a step of its sum
TERMS = 64  # of a sum that a program multiplies in one step
MAX_CHANNELS = 64  # of a program
# Loads are not pipelined: what hides their latency is the many programs that a GPU runs at once.
OPTIONS = {"num_warps": 4, "num_stages": 1}


@jit
def locally_connected2d_kernel(
    x, weight, y, images, groups, filters, height, width, columns, x_n, x_h, x_w,
    w_p, w_q, w_g, w_k, w_c, y_n, y_c, y_h, y_w, C: tl.constexpr, KH: tl.constexpr,
    KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, PRECISION: tl.constexpr, BN: tl.constexpr,
    BC: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """
    Args:
        columns: W_out.
        C: channels of a group.
        BN, BC, BK: images, filters and terms of a block.
    """
    number, n = take_block(tl.program_id(0), images, BN)
    number, c = take_block(number, filters, BC)
    group, p, q = number % groups, number // groups // columns, number // groups % columns
    weight += p * w_p + q * w_q + group * w_g
    sums = tl.zeros((BN, BC), tl.float32)
    for first in range(0, KH * KW * C, BK):
        k = first + tl.arange(0, BK)
        tap = k // C
        row, column = p * SH - PH + tap // KW * DH, q * SW - PW + tap % KW * DW
        seen = (row >= 0) & (row < height) & (column >= 0) & (column < width) & (tap < KH * KW)
        pixels = n[:, None] * x_n + (row * x_h + column * x_w + group * C + k % C)[None, :]
        window = tl.load(x + pixels, mask=(n < images)[:, None] & seen[None, :], other=0.0)
        here = seen[:, None] & (c < filters)[None, :]
        w = tl.load(weight + k[:, None] * w_k + c[None, :] * w_c, mask=here, other=0.0)
        sums = tl.dot(window, w, sums, input_precision=PRECISION)
    out = n[:, None] * y_n + (group * filters + c)[None, :] * y_c + p * y_h + q * y_w
    mask = (n < images)[:, None] & (c < filters)[None, :]
    tl.store(y + out, sums.to(y.dtype.element_ty), mask=mask)


@jit
def input_kernel(
    weight, g, x, images, groups, channels, height, width, rows, columns, g_n, g_h, g_w,
    w_p, w_q, w_g, w_k, w_c, x_n, x_c, x_h, x_w, F: tl.constexpr, KH: tl.constexpr,
    KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr,
    DH: tl.constexpr, DW: tl.constexpr, PRECISION: tl.constexpr, BN: tl.constexpr,
    BC: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """A term of the sum is a window that sees the pixel, and a filter.

    Args:
        rows, columns: H_out, W_out.
        F: filters of a group.
    """
    U: tl.constexpr = (DH * (KH - 1) + SH) // SH  # windows that may see a row
    V: tl.constexpr = (DW * (KW - 1) + SW) // SW
    number, n = take_block(tl.program_id(0), images, BN)
    number, c = take_block(number, channels, BC)
    group, row, column = number % groups, number // groups // width, number // groups % width
    sums = tl.zeros((BN, BC), tl.float32)
    for first in range(0, U * V * F, BK):
        term = first + tl.arange(0, BK)
        window, co = term // F, term % F
        p, q = (row + PH) // SH - window // V, (column + PW) // SW - window % V
        down, along = row + PH - p * SH, column + PW - q * SW  # pixels after the window's first
        seen = (p >= 0) & (p < rows) & (down <= DH * (KH - 1)) & (down % DH == 0) & (window < U * V)
        seen &= (q >= 0) & (q < columns) & (along <= DW * (KW - 1)) & (along % DW == 0)
        outputs = n[:, None] * g_n + (p * g_h + q * g_w + group * F + co)[None, :]
        upstream = tl.load(g + outputs, mask=(n < images)[:, None] & seen[None, :], other=0.0)
        tap = down // DH * KW + along // DW
        filters = p * w_p + q * w_q + group * w_g + tap * channels * w_k + co * w_c
        here = seen[:, None] & (c < channels)[None, :]
        w = tl.load(weight + filters[:, None] + c[None, :] * w_k, mask=here, other=0.0)
        sums = tl.dot(upstream, w, sums, input_precision=PRECISION)
    out = n[:, None] * x_n + (group * channels + c)[None, :] * x_c + row * x_h + column * x_w
    mask = (n < images)[:, None] & (c < channels)[None, :]
    tl.store(x + out, sums.to(x.dtype.element_ty), mask=mask)


@jit
def weight_kernel(
    x, g, weight, images, groups, filters, height, width, columns, x_n, x_h, x_w, g_n, g_h, g_w,
    C: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
    PRECISION: tl.constexpr, BN: tl.constexpr, BC: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    K: tl.constexpr = KH * KW * C
    number, c = take_block(tl.program_id(0), filters, BC)
    number, k = take_block(number, K, BK)
    group, p, q = number % groups, number // groups // columns, number // groups % columns
    tap = k // C
    row, column = p * SH - PH + tap // KW * DH, q * SW - PW + tap % KW * DW
    seen = (row >= 0) & (row < height) & (column >= 0) & (column < width) & (k < K)
    pixel = row * x_h + column * x_w + group * C + k % C
    output = p * g_h + q * g_w + group * filters + c
    sums = tl.zeros((BK, BC), tl.float32)
    for first in range(0, images, BN):
        n = first + tl.arange(0, BN)
        here = seen[:, None] & (n < images)[None, :]
        window = tl.load(x + pixel[:, None] + n[None, :] * x_n, mask=here, other=0.0)
        here = (n < images)[:, None] & (c < filters)[None, :]
        upstream = tl.load(g + n[:, None] * g_n + output[None, :], mask=here, other=0.0)
        sums = tl.dot(window, upstream, sums, input_precision=PRECISION)
    out = (number * K + k)[:, None] * filters + c[None, :]
    mask = (k < K)[:, None] & (c < filters)[None, :]
    tl.store(weight + out, sums.to(weight.dtype.element_ty), mask=mask)


def locally_connected2d(
    x: Tensor, weight: Tensor, geometry: Geometry, channels_last: bool, y: Tensor
) -> None:
    x = channels_adjacent(x)
    rows, columns, groups, _, filters = weight.shape
    block = block_of(filters, MAX_CHANNELS)
    _launch(
        locally_connected2d_kernel, rows * columns * groups * cdiv(len(x), IMAGES)
        * cdiv(filters, block), geometry, x, weight, y, len(x), groups, filters, *x.shape[2:],
        columns, *strides(x), *weight.stride(), *y.stride(), C=x.shape[1] // groups, BC=block,
    )  # fmt: skip


def locally_connected2d_input(
    weight: Tensor,
    g: Tensor,
    geometry: Geometry,
    image_size: Pair,
    channels_last: bool,
    x: Tensor,
) -> None:
    g = channels_adjacent(g)
    rows, columns, groups, _, filters = weight.shape
    channels = x.shape[1] // groups
    block = block_of(channels, MAX_CHANNELS)
    _launch(
        input_kernel, prod(image_size) * groups * cdiv(len(x), IMAGES)
        * cdiv(channels, block), geometry, weight, g, x, len(x), groups, channels, *image_size,
        rows, columns, *strides(g), *weight.stride(), *x.stride(), F=filters, BC=block,
    )  # fmt: skip


def locally_connected2d_weight(
    x: Tensor, g: Tensor, geometry: Geometry, channels_last: bool, weight: Tensor
) -> None:
    x, g = channels_adjacent(x), channels_adjacent(g)
    rows, columns, groups, size, filters = weight.shape
    block = block_of(filters, MAX_CHANNELS)
    _launch(
        weight_kernel, rows * columns * groups * cdiv(size, TERMS) * cdiv(filters, block),
        geometry, x, g, weight, len(x), groups, filters, *x.shape[2:], columns, *strides(x),
        *strides(g), C=x.shape[1] // groups, BC=block,
    )  # fmt: skip


def _launch(kernel: Any, programs: int, geometry: Geometry, *arguments: Any, **constants: int):
    digits = conv_precision()
    # Without matrix instructions, 64 terms at a time and where they lie do not fit the registers.
    terms = TERMS // 2 if kernel is input_kernel and digits == "ieee" else TERMS
    if programs:
        runtime.launch(
            kernel, programs, *arguments, PRECISION=digits, BN=IMAGES, BK=terms,
            **runtime.window(geometry), **constants, **OPTIONS,
        )  # fmt: skip


def _why_not(a: Tensor, b: Tensor, output: tuple[int, ...]) -> str | None:
    if a.dtype != b.dtype:
        return f"operands are {a.dtype} and {b.dtype}"
    if not prod((*a.shape[1:], *b.shape[1:])):
        return "there is nothing to add up"
    return runtime.why_not_triton(a, b, numel=prod(output))


def _supports(x: Tensor, weight: Tensor, *others: Any) -> str | None:
    rows, columns, groups, _, filters = weight.shape
    return _why_not(x, weight, (len(x), groups, filters, rows, columns))


def _supports_input(
    weight: Tensor, g: Tensor, geometry: Geometry, image_size: Pair, *_: Any
) -> str | None:
    channels = weight.shape[3] // prod(geometry.kernel_size)
    return _why_not(weight, g, (len(g), weight.shape[2], channels, *image_size))


def _supports_weight(x: Tensor, g: Tensor, geometry: Geometry, *_: Any) -> str | None:
    size = x.shape[1] // geometry.groups, *geometry.kernel_size
    return _why_not(x, g, (*g.shape[1:], *size))


LOCALLY_CONNECTED2D = Kernel("triton", locally_connected2d, _supports)
LOCALLY_CONNECTED2D_INPUT = Kernel("triton", locally_connected2d_input, _supports_input)
LOCALLY_CONNECTED2D_WEIGHT = Kernel("triton", locally_connected2d_weight, _supports_weight)
