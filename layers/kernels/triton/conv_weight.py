"""The gradient of a convolution by its filters, on a GPU: a product whose long side is summed over.

    w[k,tap,c] = sum over pixels (n,p,q) of  g[n,p,q,k] * x[n, S p + D i - P, S q + D j - P, c]

Letters: k filter of a group, tap (i,j), c channel of a group.  The filters are few and the pixels
many: 64 x 576 numbers of 401,408 terms each.  Blocks of filters alone would leave most of a GPU
idle, so the pixels, too, are divided into shares (split-K), and the shares' sums added up by a
second kernel.  Neither writes where another does, so the sum is the same at every run.

                       pixels
         .-- share 0 --.-- share 1 --.-- share 2 --.
      g  |  k  ======> |             |             |     a program: one block (k, tap and c) of one
      x  | tap, c ===> |             |             |     share, over its pixels, BK at a time
         '------|------'------|------'------|------'
           parts[0]    +   parts[1]  +   parts[2]    =   w, by the second kernel

A block of (tap, c) lies within one tap where whole blocks fill the channels: what depends on the
tap is then one number.  Elsewhere it goes across taps (FOLD), lest most of it be empty.

Partial sums are written once and read once: 35 MB at most, or as much as the filters in float32.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from ...ops.geometry import Geometry
from ...ops.registry import Kernel
from . import runtime, windows
from .implicit_gemm import precision, why_not
from .pixels import alignment, channels_adjacent, strides, take_block
from .runtime import cdiv, jit, jit_for_any, tl

PROGRAMS = 528  # at most, or one share: four for each of an H100's multiprocessors
MIN_PIXELS = 256  # of a share: its sums are written and read once more
SUMS, SHARES = 64, 16  # of a program of the second kernel, and of a step


class BlockSizes(NamedTuple):
    """How much a program takes: one of four sizes."""

    filters: int
    terms: int  # taps and channels
    pixels: int  # of a step
    num_warps: int
    num_stages: int  # steps whose loads are under way

    @classmethod
    def of(cls, filters: int, channels: int, dtype: torch.dtype, digits: str) -> BlockSizes:
        few = channels < 16  # and each of them loaded by itself
        # Three products for one take the registers of a larger block.
        high = 64 if filters <= 64 or digits == "tf32x3" else 128
        wide = 64 if few or digits == "tf32x3" else 128
        # Copies in the background take 4 bytes at least, and do not transpose on their way, as a
        # product in tf32 asks: without them numbers of 32 bits, too, are loaded 16 bytes at a time.
        pixels, stages = (32, 1) if few or dtype == torch.float32 else (64, 3)
        return cls(high, wide, pixels, 4 if high == 64 else 8, stages)


@jit_for_any("pixels", "per_share")
def parts_kernel(
    x, g, parts, pixels, per_share, groups, filters, height, width, rows, columns,
    x_n, x_h, x_w, g_n, g_h, g_w, C: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr,
    SH: tl.constexpr, SW: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr, DH: tl.constexpr,
    DW: tl.constexpr, PRECISION: tl.constexpr, FOLD: tl.constexpr, ALIGN_X: tl.constexpr,
    ALIGN_G: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """parts[share,group,k,tap,c].

    Args:
        rows, columns: H_out, W_out.
        C: channels of a group; filters, too, are those of a group.
        ALIGN_X, ALIGN_G: numbers in 16 bytes, where all pixels start at such; else 1.
        BM, BN, BK: filters, (tap, c) and pixels of a block.
    """
    number, k = take_block(tl.program_id(0), filters, BM)
    if FOLD:
        number, term = take_block(number, KH * KW * C, BN)
        tap, c = term // C, term % C
        exists = tap < KH * KW
    else:
        number, c = take_block(number, C, BN)
        number, tap = number // (KH * KW), number % (KH * KW)
        exists = c < C  # all of them
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
            g + masked_offset(output, at < stop, ALIGN_G)[None, :]
            + masked_channel(k, k < filters, ALIGN_G)[:, None], mask=here, other=0.0,
        )  # fmt: skip
        row, column = plus(p * SH, down, FOLD), plus(q * SW, along, FOLD)
        seen = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        seen &= (at < stop)[:, None]
        pixel = (n * x_n)[:, None] + row * x_h + column * x_w + group * C
        image = tl.load(
            x + masked_offset(pixel, seen, ALIGN_X) + masked_channel(c, exists, ALIGN_X)[None, :],
            mask=seen & exists[None, :], other=0.0,
        )  # fmt: skip
        sums = tl.dot(upstream, image, sums, input_precision=PRECISION)
    taps = plus((group * filters + k) * (KH * KW), tap, FOLD) + share * groups * filters * (KH * KW)
    mask = (k < filters)[:, None] & exists[None, :]
    tl.store(parts + taps * C + c[None, :], sums, mask=mask)


@jit
def plus(pixel, tap, FOLD: tl.constexpr):
    """Their sums: a column, of one tap, or a block, of a tap for each of its columns."""
    return pixel[:, None] + tap[None, :] if FOLD else (pixel + tap)[:, None]


@jit
def masked_offset(offset, mask, ALIGN: tl.constexpr):
    """0 where masked: loads that are under way during others may not heed their mask."""
    offset = tl.where(mask, offset, 0)
    return tl.multiple_of(offset, [ALIGN] * len(offset.shape))


@jit
def masked_channel(channel, mask, ALIGN: tl.constexpr):
    return tl.max_contiguous(tl.multiple_of(tl.where(mask, channel, 0), ALIGN), ALIGN)


@jit_for_any("shares")
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
    groups, channels, filters = geometry.groups, weight.shape[1], weight.shape[0] // geometry.groups
    digits = precision(x.dtype, algorithm)
    blocks = BlockSizes.of(filters, channels, x.dtype, digits)
    taps = prod(geometry.kernel_size)
    programs = groups * cdiv(filters, blocks.filters) * cdiv(taps * channels, blocks.terms)
    pixels = g.numel() // g.shape[1]
    shares, per_share = divided(pixels, programs, blocks.pixels)
    parts = x.new_empty((shares, weight.numel()), dtype=torch.float32)
    if shares:
        runtime.launch(
            parts_kernel, programs * shares, x, g, parts, pixels, per_share, groups, filters,
            *x.shape[2:], *g.shape[2:], *strides(x), *strides(g), C=channels,
            FOLD=channels % blocks.terms != 0,
            ALIGN_X=alignment(x, channels), ALIGN_G=alignment(g, filters), PRECISION=digits,
            BM=blocks.filters, BN=blocks.terms, BK=blocks.pixels, num_warps=blocks.num_warps,
            num_stages=blocks.num_stages, **runtime.window(geometry),
        )  # fmt: skip
    runtime.launch(
        sum_kernel, cdiv(weight.numel(), SUMS), parts, weight, weight.numel(), shares,
        *weight.stride(), C=channels, KH=weight.shape[2], KW=weight.shape[3], BS=SHARES, BLOCK=SUMS,
    )  # fmt: skip


def divided(pixels: int, programs: int, step: int) -> tuple[int, int]:
    """(shares, pixels of a share), each of which takes so many programs, and whole steps."""
    shares = max(1, min(PROGRAMS // programs, pixels // MIN_PIXELS))
    per_share = max(1, cdiv(cdiv(pixels, shares), step)) * step
    return cdiv(pixels, per_share), per_share


def _supports(
    x: Tensor, g: Tensor, geometry: Geometry, channels_last: bool, algorithm: str
) -> str | None:
    if not prod((*x.shape[1:], *g.shape[1:])):
        return "there is nothing to add up"
    channels = x.shape[1] // geometry.groups
    numbers = g.shape[1] * channels * prod(geometry.kernel_size)
    return why_not(x, g, geometry, channels, numbers, algorithm)


CONV2D_WEIGHT = Kernel("triton", conv2d_weight, _supports)
