"""The gradient of a convolution by its filters, on a GPU: a product whose long side is summed over.

    w[k,tap,c] = sum over pixels (n,p,q) of  g[n,p,q,k] * x[n, S p + D i - P, S q + D j - P, c]

Letters: k filter of a group, tap (i,j), c channel of a group.  The filters are few and the pixels
many: 64 x 576 numbers of 200,704 terms each.  Blocks of filters alone would leave most of a GPU
idle, so the pixels, too, are divided into shares (split-K), and the shares' sums added up by a
second kernel.  Neither writes where another does, so the sum is the same at every run.

                       pixels
         .-- share 0 --.-- share 1 --.-- share 2 --.
      g  |  k  ======> |             |             |     a program: one block (k, tap and c) of one
      x  | tap, c ===> |             |             |     share, over its pixels, BK at a time
         '------|------'------|------'------|------'
           parts[0]    +   parts[1]  +   parts[2]    =   w, by the second kernel

A block of the other side lies within one tap, where all that depends on the tap is one number; with
few channels it goes across taps (FOLD), as otherwise most of it would be empty.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from ...interop.precision import conv_precision
from ...ops.geometry import Geometry
from ...ops.registry import Kernel
from ..conv_im2col import why_not_im2col
from ..conv_pointwise import is_pointwise
from . import runtime, windows
from .pixels import alignment, cdiv, channels_adjacent, strides, take_block
from .runtime import jit, tl

PROGRAMS = 528  # at most, or one share: four for each of an H100's multiprocessors
MIN_PIXELS = 256  # of a share: its sums are written and read once more
FOLDED = 64  # channels below which a block goes across taps
SUMS, SHARES = 64, 16  # of a program of the second kernel, and of a step of its


class Blocks(NamedTuple):
    """Four sizes of blocks, in two sorts of numbers."""

    filters: int
    terms: int  # taps and channels
    pixels: int  # of a step
    num_warps: int
    num_stages: int  # steps whose loads are under way

    @classmethod
    def of(cls, filters: int, channels: int, dtype: torch.dtype) -> Blocks:
        high = 32 if filters <= 32 else 64 if filters <= 64 else 128
        wide = 128 if high == 128 and channels >= 128 else 64
        warps = 8 if wide == 128 else 4
        # In tf32 a step's numbers are transposed on their way, which a copy in the background
        # cannot do: it would load 4 bytes at a time.
        pixels, stages = (32, 1) if dtype == torch.float32 else (64, 3)
        return cls(high, wide, pixels, warps, stages)


@jit
def parts_kernel(
    x, g, parts, pixels, per_share, groups, filters, height, width, rows, columns,
    x_n, x_h, x_w, g_n, g_h, g_w, C: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr,
    SH: tl.constexpr, SW: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr, DH: tl.constexpr,
    DW: tl.constexpr, PRECISION: tl.constexpr, FOLD: tl.constexpr, ALIGN_X: tl.constexpr,
    ALIGN_G: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """parts[share,group,k,tap,c].  rows, columns: H_out, W_out; C: channels of a group."""
    number, k = take_block(tl.program_id(0), filters, BM)
    if FOLD:
        number, term = take_block(number, KH * KW * C, BN)
        tap, c = term // C, term % C
        exists = tap < KH * KW
    else:
        number, c = take_block(number, C, BN)
        number, tap = number // (KH * KW), number % (KH * KW)
        exists = c < C
    down, along = tap // KW * DH - PH, tap % KW * DW - PW
    group, share = number % groups, number // groups
    stop = tl.minimum((share + 1) * per_share, pixels)
    sums = tl.zeros((BM, BN), tl.float32)
    for first in range(share * per_share, stop, BK):
        at = first + tl.arange(0, BK)
        n, p, q = windows.split(at, rows, columns)
        here = (at < stop)[None, :] & (k < filters)[:, None]
        output = n * g_n + p * g_h + q * g_w + group * filters
        upstream = tl.load(
            g + inside(output, at < stop, ALIGN_G)[None, :]
            + adjacent(k, k < filters, ALIGN_G)[:, None], mask=here, other=0.0,
        )  # fmt: skip
        row, column = plus(p * SH, down, FOLD), plus(q * SW, along, FOLD)
        seen = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        seen &= (at < stop)[:, None]
        pixel = (n * x_n)[:, None] + row * x_h + column * x_w + group * C
        image = tl.load(
            x + inside(pixel, seen, ALIGN_X) + adjacent(c, exists, ALIGN_X)[None, :],
            mask=seen & exists[None, :], other=0.0,
        )  # fmt: skip
        sums = tl.dot(upstream, image, sums, input_precision=PRECISION)
    taps = plus(k * (KH * KW), tap, FOLD) + number * filters * (KH * KW)
    mask = (k < filters)[:, None] & exists[None, :]
    tl.store(parts + taps * C + c[None, :], sums, mask=mask)


@jit
def plus(pixel, tap, FOLD: tl.constexpr):
    """Their sums: a column, of one tap, or a block, of a tap for each of its columns."""
    return pixel[:, None] + tap[None, :] if FOLD else (pixel + tap)[:, None]


@jit
def inside(offset, mask, ALIGN: tl.constexpr):
    """0 where masked: loads that are under way during others may not heed their mask."""
    offset = tl.where(mask, offset, 0)
    return tl.multiple_of(offset, [ALIGN] * len(offset.shape))


@jit
def adjacent(channel, mask, ALIGN: tl.constexpr):
    return tl.max_contiguous(tl.multiple_of(tl.where(mask, channel, 0), ALIGN), ALIGN)


@jit
def sum_kernel(
    parts, weight, size, shares, w_k, w_c, w_i, w_j, C: tl.constexpr, KH: tl.constexpr,
    KW: tl.constexpr, BS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    sums = tl.zeros((BS, BLOCK), tl.float32)
    for first in range(0, shares, BS):
        share = first + tl.arange(0, BS)
        mask = (share < shares)[:, None] & (at < size)[None, :]
        sums += tl.load(parts + share[:, None] * size + at[None, :], mask=mask, other=0.0)
    k, tap, c = at // (KH * KW * C), at // C % (KH * KW), at % C
    out = k * w_k + c * w_c + tap // KW * w_i + tap % KW * w_j
    tl.store(weight + out, tl.sum(sums, 0).to(weight.dtype.element_ty), mask=at < size)


def conv2d_weight(
    x: Tensor,
    g: Tensor,
    geometry: Geometry,
    channels_last: bool,
    algorithm: str,
    weight: Tensor,
) -> None:
    x, g = channels_adjacent(x), channels_adjacent(g)
    filters, channels, *kernel_size = weight.shape
    groups, taps = geometry.groups, kernel_size[0] * kernel_size[1]
    filters //= groups
    folded = channels < FOLDED
    blocks = Blocks.of(filters, channels, x.dtype)
    in_terms = taps * channels if folded else channels
    tiles = groups * cdiv(filters, blocks.filters) * cdiv(in_terms, blocks.terms)
    tiles *= 1 if folded else taps
    pixels = g.numel() // g.shape[1]
    shares = max(1, min(PROGRAMS // tiles, pixels // MIN_PIXELS))
    per_share = cdiv(cdiv(pixels, shares), blocks.pixels) * blocks.pixels
    shares = cdiv(pixels, per_share) if pixels else 0
    parts = x.new_empty((shares, weight.numel()), dtype=torch.float32)
    constants = windows.constants(geometry)
    if shares:
        runtime.launch(
            parts_kernel, tiles * shares, x, g, parts, pixels, per_share, groups, filters,
            *x.shape[2:], *g.shape[2:], *strides(x), *strides(g), C=channels, FOLD=folded,
            ALIGN_X=alignment(x, channels), ALIGN_G=alignment(g, filters),
            PRECISION="tf32x3" if algorithm == "tf32x3" else conv_precision(),
            BM=blocks.filters, BN=blocks.terms, BK=blocks.pixels, num_warps=blocks.num_warps,
            num_stages=blocks.num_stages, **constants,
        )  # fmt: skip
    runtime.launch(
        sum_kernel, cdiv(weight.numel(), SUMS), parts, weight, weight.numel(), shares,
        *weight.stride(), C=channels, KH=constants["KH"], KW=constants["KW"], BS=SHARES, BLOCK=SUMS,
    )  # fmt: skip


def _supports(
    x: Tensor, g: Tensor, geometry: Geometry, channels_last: bool, algorithm: str
) -> str | None:
    if reason := why_not_im2col(algorithm) or runtime.why_not_triton(x, g):
        return reason
    if is_pointwise(geometry):
        return "a 1x1 convolution is one product, by cuBLAS"
    if x.dtype == torch.float32 and algorithm != "tf32x3" and conv_precision() == "ieee":
        return "in ieee precision cuBLAS on columns is faster"
    return None if prod((*x.shape[1:], *g.shape[1:])) else "there is nothing to add up"


CONV2D_WEIGHT = Kernel("triton", conv2d_weight, _supports)
