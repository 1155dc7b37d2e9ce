"""The product of a convolution, whose columns are never written to memory: implicit GEMM.

A program computes BM outputs of BN filters, and adds up BK products of each at a time:

                       k = (i, j, c)
                     BK     BK     BK                  BN
                  +------+------+-- - --+          +--------+             +--------+
    outputs  BM   |      | X_col        |   @  BK  | W_row^T|     ->  BM  |  acc   |   float32
                  +------+------+-- - --+          +--------+             +--------+
                   \\____ gathered from the images as they lie

Blocks of both lie in shared memory while they are multiplied, and the next ones are on their way
(`num_stages`).  k runs through all taps and the channels of each without a gap, so that no block is
half empty where channels are few.  Where channels are adjacent and their number is a multiple of
ALIGN, so many of them are one load of 16 bytes, and belong to one tap: one test of the border.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...interop.precision import conv_precision
from ...ops.geometry import Geometry
from ..conv_pointwise import is_pointwise
from . import runtime
from .pixels import channels_adjacent
from .runtime import jit, tl

PIXELS = 128  # BM: outputs of a program
FEW_CHANNELS = 8  # below, it does not matter in which order they lie: loads are narrow


@jit
def multiply(
    x, w, image, row, column, filters, height, width, taps_h, taps_w, channels, down, along,
    x_c, x_h, x_w, w_c, w_i, w_j, PRECISION: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    BK: tl.constexpr, ALIGN: tl.constexpr,
):  # fmt: skip
    """acc[m,o] = sum over i, j, c of  w[o,c,i,j] * x[m's image, c, row + down i, column + along j]

    Args:
        image, filters: where in x and w the image of each output, and each filter, begin.
        row, column: of the pixel that an output sees through tap 0; it may be outside the image.
        taps_h, taps_w, channels: how many i, j and c there are; no tap makes zeros.
    """
    acc = tl.zeros((BM, BN), tl.float32)
    image += row * x_h + column * x_w
    for first in range(0, taps_h * taps_w * channels, BK):
        k = first + tl.arange(0, BK)
        tap = tl.max_constancy(_quotient(k, channels), ALIGN)
        i = _quotient(tap, tl.maximum(taps_w, 1))  # what it computes for no tap is not used
        j, c, exists = tap - i * taps_w, k - tap * channels, i < taps_h
        below = tl.where(exists, i * down, 1 << 30)  # what does not exist is outside the image
        seen = _inside(row[:, None] + below[None, :], height)
        seen &= _inside(column[:, None] + (j * along)[None, :], width)
        at = image[:, None] + (i * (down * x_h) + j * (along * x_w) + c * x_c)[None, :]
        columns = tl.load(x + _wide(at, seen, ALIGN), mask=seen, other=0.0)
        at = filters[:, None] + (i * w_i + j * w_j + c * w_c)[None, :]
        rows = tl.load(w + _wide(at, exists[None, :], ALIGN), mask=exists[None, :], other=0.0)
        acc = tl.dot(columns, tl.trans(rows), acc, input_precision=PRECISION)
    return acc


@jit
def store(y, acc, output, filters, exists, in_filters, y_c, LAST: tl.constexpr):
    """y[output + filter * y_c] = acc; adjacent are its filters (LAST), or its pixels."""
    if LAST:
        at, mask = output[:, None] + (filters * y_c)[None, :], exists[:, None] & in_filters[None, :]
        tl.store(y + at, acc.to(y.dtype.element_ty), mask=mask)
    else:
        at, mask = (filters * y_c)[:, None] + output[None, :], in_filters[:, None] & exists[None, :]
        tl.store(y + at, tl.trans(acc.to(y.dtype.element_ty)), mask=mask)


@jit
def _quotient(number, divisor):
    """number // divisor: without signs half of its work does not depend on the number."""
    return (number.to(tl.uint32) // tl.cast(divisor, tl.uint32)).to(tl.int32)


@jit
def _inside(at, length):
    """0 <= at < length, in one comparison: a negative number is a large one without its sign."""
    return at.to(tl.uint32, bitcast=True) < tl.cast(length, tl.uint32)


@jit
def _wide(at, mask, ALIGN: tl.constexpr):
    """Offsets, ALIGN of them adjacent, from a multiple of it on; 0 where nothing is loaded."""
    return tl.max_contiguous(tl.multiple_of(tl.where(mask, at, 0), (1, ALIGN)), (1, ALIGN))


def configuration(
    filters: int, align: int, dtype: torch.dtype, digits: str, gaps: bool = False
) -> dict[str, int]:
    """Of blocks and of what is on its way, by the filters of a group and what is loaded.

    Warps share a block's registers, so more of them where each needs many: for three products in
    place of one, and for inputs or outputs that go through memory one by one.

    Args:
        filters: of a group.
        gaps: whether no two outputs of a program are adjacent.
    """
    BN = 64 if filters <= 64 or 128 < filters <= 192 else 128  # else half a block would be empty
    if align == 1:
        return dict(BM=PIXELS, BN=BN, BK=16, num_warps=8, num_stages=3)
    if digits == "tf32x3" or filters < 16 or gaps:
        BN, num_warps = 64, 8
    else:
        num_warps = BN // 16
    return dict(BM=PIXELS, BN=BN, BK=128 // dtype.itemsize, num_warps=num_warps, num_stages=3)


def adjacent(x: Tensor, channels: int) -> Tensor:
    """Images or filters whose channels are adjacent, or so few that it does not matter.

    A copy goes through memory twice; the product would read numbers that lie apart once for each
    tap and each block of filters, one to a load.
    """
    return x if channels < FEW_CHANNELS else channels_adjacent(x)


def precision(dtype: torch.dtype, algorithm: str) -> str:
    """How float32 is multiplied: "tf32", "tf32x3", or "ieee", which is not done here.

    tf32x3 multiplies the leading and the following ten bits of both operands' mantissas, three
    products of four: nearly the digits of ieee, on matrix instructions.
    """
    if dtype != torch.float32:
        return "tf32"  # as good as any
    if algorithm == "tf32x3":
        return algorithm
    found = conv_precision()
    return "tf32x3" if found == "ieee" and algorithm == "allow_tf32x3" else found


def why_not(
    a: Tensor, b: Tensor, geometry: Geometry, channels: int, numbers: int, algorithm: str
) -> str | None:
    """None, or why a convolution is not computed by such a product.

    Args:
        channels: of a group of images.
        numbers: how many the output has.
    """
    if reason := runtime.why_not_triton(a, b):
        return reason
    if a.dtype != b.dtype:
        return f"operands are {a.dtype} and {b.dtype}"
    if algorithm == "winograd":
        return "Winograd's algorithm was asked for"
    if numbers > runtime.MAX_OFFSET - PIXELS:
        return "offsets into memory have 32 bits there"
    if geometry.groups > 1 and channels == 1:
        return "a filter of one channel would leave matrix instructions idle"
    digits = precision(a.dtype, algorithm)
    if digits == "ieee":
        return "in ieee precision cuBLAS on columns is faster: try layers.backends.tf32x3"
    if is_pointwise(geometry) and "tf32x3" not in (algorithm, digits):
        return "a 1x1 convolution is one product, by cuBLAS"
    return None
