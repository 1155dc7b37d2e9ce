"""Batch normalisation on a GPU: three kernels forward, three backward.

1. Every channel's pixels are cut into parts, a program for each: what a part adds to the statistics.
2. A program for each channel merges its parts, always in the same way.  (A single part needs none.)
3. Every number is computed from x and its channel's statistics.

                part 0   part 1   part 2
    channel 0  [ m, v ] [ m, v ] [ m, v ]  ->  mean, variance     Memory is passed over three times
    channel 1  [ m, v ] [ m, v ] [ m, v ]  ->  mean, variance     forward (x; x, y), and five times
                  1                         2                     backward (dy, x; dy, x, dx).

A variance is never the difference of two large numbers.  A program of 1 keeps a mean and a sum of
squared deviations for every place in its block, updated by each number (Welford), and merges those
with Chan's formula, as 2 does parts:

    mean = sum n_i m_i / n        sum of squares = sum (S_i + n_i (m_i - mean)^2)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ...ops.registry import Kernel
from . import runtime
from .channels import Blocks, channels_of, offset, over_channels, over_pixels, pixels_of
from .runtime import jit, tl

BLOCK = dict(size=2048, adjacent=64, warps=8)
APART, APART_IF_SMALL, SMALL = 8, 32, 64  # channels of a block: of larger and smaller images
PROGRAMS = 2048  # that together find the statistics of a large volume
MIN_BLOCKS = 4  # of a part
MAX_PARTS = 1024


@jit
def blocks_of_part(channels, per_part, blocks, BC: tl.constexpr):
    """Which part of the pixels a program has; its first block, and the one after its last."""
    part = tl.program_id(0) // tl.cdiv(channels, BC)
    return part, part * per_part, tl.minimum((part + 1) * per_part, blocks)


@jit
def pixels_before(block, per_image, pixels, BP: tl.constexpr):
    """How many come before a block: the last one of an image may not be full."""
    return block // per_image * pixels + tl.minimum(block % per_image * BP, pixels)


@jit
def merged(count, mean, squares, AXIS: tl.constexpr):
    """Count, mean, and sum of squared deviations from it, of all values along an axis."""
    n = tl.sum(count, AXIS, keep_dims=True)
    centre = tl.sum(count * mean, AXIS, keep_dims=True) / n
    centre += tl.sum(count * (mean - centre), AXIS, keep_dims=True) / n  # what rounding has left
    deviation = mean - centre
    return n, centre, tl.sum(squares + count * deviation * deviation, AXIS, keep_dims=True)


@jit
def statistics_kernel(
    x, y, means, variances, parts, per_part, blocks, x_n, x_c, x_p, y_n, y_c, y_p,
    per_image, channels, pixels,
    LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """1.  Mean and variance of a part of the pixels, to (C, parts)."""
    c = channels_of(tl.program_id(0), channels, BC)
    part, first, end = blocks_of_part(channels, per_part, blocks, BC)
    exists = over_channels(c < channels, LAST)
    mean = tl.zeros([BP, BC] if LAST else [BC, BP], tl.float32)
    squares = tl.zeros(mean.shape, tl.float32)
    seen = tl.zeros([BP], tl.float32)  # pixels at a place of the block
    for block in range(first, end):
        n, p = pixels_of(block, per_image, BP)
        mask = exists & over_pixels(p < pixels, LAST)
        place = offset(n, c, p, x_n, x_c, x_p, LAST)
        value = tl.load(x + place, mask=mask, other=0.0).to(tl.float32)
        seen += (p < pixels).to(tl.float32)
        deviation = tl.where(mask, value - mean, 0.0)
        mean += deviation * over_pixels(1.0 / tl.maximum(seen, 1.0), LAST)
        squares += deviation * (value - mean)
    count, mean, squares = merged(over_pixels(seen, LAST), mean, squares, 0 if LAST else 1)
    out = over_channels(c * parts + part, LAST)
    tl.store(means + out, mean, mask=exists)
    tl.store(variances + out, squares / count, mask=exists)


@jit
def merge_statistics_kernel(
    means, variances, mean, variance, parts, per_part, blocks, per_image, pixels,
    BP: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """2.  Mean and variance of a channel."""
    part = tl.arange(0, PARTS)
    exists, at = part < parts, tl.program_id(0) * parts + part
    end = tl.minimum((part + 1) * per_part, blocks)
    count = pixels_before(end, per_image, pixels, BP)
    count -= pixels_before(part * per_part, per_image, pixels, BP)
    count = tl.where(exists, count, 0).to(tl.float32)
    centre = tl.load(means + at, mask=exists, other=0.0)
    squares = count * tl.load(variances + at, mask=exists, other=0.0)
    count, centre, squares = merged(count, centre, squares, 0)
    out = tl.program_id(0) + tl.arange(0, 1)
    tl.store(mean + out, centre)
    tl.store(variance + out, squares / count)


@jit
def normalize_kernel(
    x, y, gamma, beta, mean, variance, eps, x_n, x_c, x_p, y_n, y_c, y_p,
    per_image, channels, pixels, LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """3.  y = gamma (x - mean) / sqrt(variance + eps) + beta."""
    c = channels_of(tl.program_id(0), channels, BC)
    n, p = pixels_of(tl.program_id(0) // tl.cdiv(channels, BC), per_image, BP)
    exists = c < channels
    root = tl.rsqrt(tl.load(variance + c, mask=exists, other=1.0) + eps)
    slope = tl.load(gamma + c, mask=exists, other=0.0).to(tl.float32) * root
    shift = tl.load(beta + c, mask=exists, other=0.0).to(tl.float32)
    centre = tl.load(mean + c, mask=exists, other=0.0)
    mask = over_channels(exists, LAST) & over_pixels(p < pixels, LAST)
    place = offset(n, c, p, x_n, x_c, x_p, LAST)
    value = tl.load(x + place, mask=mask, other=0.0).to(tl.float32) - over_channels(centre, LAST)
    value = value * over_channels(slope, LAST) + over_channels(shift, LAST)
    out = offset(n, c, p, y_n, y_c, y_p, LAST)
    tl.store(y + out, value.to(y.dtype.element_ty), mask=mask)


@jit
def sums_kernel(
    dy, x, dx, mean, variance, dgammas, dbetas, eps, parts, per_part, blocks,
    dy_n, dy_c, dy_p, x_n, x_c, x_p, dx_n, dx_c, dx_p, per_image, channels, pixels,
    LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """1.  What a part of the pixels adds to dgamma = sum dy h and to dbeta = sum dy."""
    c = channels_of(tl.program_id(0), channels, BC)
    part, first, end = blocks_of_part(channels, per_part, blocks, BC)
    exists = c < channels
    centre = over_channels(tl.load(mean + c, mask=exists, other=0.0), LAST)
    root = tl.rsqrt(tl.load(variance + c, mask=exists, other=1.0) + eps)
    products = tl.zeros([BP, BC] if LAST else [BC, BP], tl.float32)
    sums = tl.zeros(products.shape, tl.float32)
    for block in range(first, end):
        n, p = pixels_of(block, per_image, BP)
        mask = over_channels(exists, LAST) & over_pixels(p < pixels, LAST)
        place = offset(n, c, p, dy_n, dy_c, dy_p, LAST)
        upstream = tl.load(dy + place, mask=mask, other=0.0).to(tl.float32)
        place = offset(n, c, p, x_n, x_c, x_p, LAST)
        value = tl.load(x + place, mask=mask, other=0.0).to(tl.float32)
        products += upstream * (value - centre)
        sums += upstream
    out = c * parts + part
    tl.store(dgammas + out, tl.sum(products, 0 if LAST else 1) * root, mask=exists)
    tl.store(dbetas + out, tl.sum(sums, 0 if LAST else 1), mask=exists)


@jit
def add_up_kernel(dgammas, dbetas, dgamma, dbeta, parts, PARTS: tl.constexpr):
    """2.  dgamma and dbeta of a channel."""
    c, part = tl.program_id(0), tl.arange(0, PARTS)
    at, exists = c * parts + part, part < parts
    tl.store(dgamma + c, tl.sum(tl.load(dgammas + at, mask=exists, other=0.0)))
    tl.store(dbeta + c, tl.sum(tl.load(dbetas + at, mask=exists, other=0.0)))


@jit
def gradient_kernel(
    dy, x, dx, gamma, mean, variance, dgamma, dbeta, eps, count, dy_n, dy_c, dy_p,
    x_n, x_c, x_p, dx_n, dx_c, dx_p, per_image, channels, pixels, LAST: tl.constexpr,
    BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """3.  dx = gamma / sqrt(variance + eps) * (dy - dbeta / M - h dgamma / M)."""
    c = channels_of(tl.program_id(0), channels, BC)
    n, p = pixels_of(tl.program_id(0) // tl.cdiv(channels, BC), per_image, BP)
    exists = c < channels
    root = tl.rsqrt(tl.load(variance + c, mask=exists, other=1.0) + eps)
    slope = tl.load(gamma + c, mask=exists, other=0.0).to(tl.float32) * root
    shift = tl.load(dbeta + c, mask=exists, other=0.0) / count
    tilt = tl.load(dgamma + c, mask=exists, other=0.0) / count * root
    centre = tl.load(mean + c, mask=exists, other=0.0)
    mask = over_channels(exists, LAST) & over_pixels(p < pixels, LAST)
    place = offset(n, c, p, x_n, x_c, x_p, LAST)
    value = tl.load(x + place, mask=mask, other=0.0).to(tl.float32) - over_channels(centre, LAST)
    place = offset(n, c, p, dy_n, dy_c, dy_p, LAST)
    upstream = tl.load(dy + place, mask=mask, other=0.0).to(tl.float32)
    centred = upstream - over_channels(shift, LAST) - value * over_channels(tilt, LAST)
    out = offset(n, c, p, dx_n, dx_c, dx_p, LAST)
    value = centred * over_channels(slope, LAST)
    tl.store(dx + out, value.to(dx.dtype.element_ty), mask=mask)


def batch_norm(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    eps: float,
    channels_last: bool,
    y: Tensor,
    mean: Tensor,
    variance: Tensor,
) -> None:
    blocks = _blocks(x, y)
    parts, *counts = _parts(blocks)
    means, variances = _scratch(parts, mean, variance)
    blocks.launch(statistics_kernel, parts, means, variances, parts, *counts)
    if parts > 1:
        runtime.launch(
            merge_statistics_kernel, len(mean), means, variances, mean, variance, parts, *counts,
            blocks.per_image, blocks.pixels, BP=blocks.constants["BP"], PARTS=MAX_PARTS,
        )  # fmt: skip
    constants = gamma.contiguous(), beta.contiguous(), mean, variance, eps
    blocks.launch(normalize_kernel, blocks.number, *constants)


def backward(
    dy: Tensor,
    x: Tensor,
    gamma: Tensor,
    mean: Tensor,
    variance: Tensor,
    eps: float,
    channels_last: bool,
    dx: Tensor,
    dgamma: Tensor,
    dbeta: Tensor,
) -> None:
    gamma, mean, variance = (each.contiguous() for each in (gamma, mean, variance))
    blocks = _blocks(dy, x, dx)
    parts, *counts = _parts(blocks)
    dgammas, dbetas = _scratch(parts, dgamma, dbeta)
    blocks.launch(sums_kernel, parts, mean, variance, dgammas, dbetas, eps, parts, *counts)
    if parts > 1:
        runtime.launch(
            add_up_kernel, len(mean), dgammas, dbetas, dgamma, dbeta, parts, PARTS=MAX_PARTS
        )
    constants = gamma, mean, variance, dgamma, dbeta, eps, x.numel() // len(mean)
    blocks.launch(gradient_kernel, blocks.number, *constants)


def _blocks(*images: Tensor) -> Blocks:
    pixels = images[0].shape[2:].numel()
    return Blocks(*images, apart=APART_IF_SMALL if pixels <= SMALL else APART, **BLOCK)


def _parts(blocks: Blocks) -> tuple[int, int, int]:
    """Into how many parts the pixels are cut, the blocks of a part, and of all of them."""
    most = min(MAX_PARTS, max(1, PROGRAMS // blocks.columns))
    per_part = max(MIN_BLOCKS, -(-blocks.number // most))
    return -(-blocks.number // per_part), per_part, blocks.number


def _scratch(parts: int, *totals: Tensor) -> Sequence[Tensor]:
    """(C, parts) for each of some (C); of a single part, these themselves."""
    if parts == 1:
        return totals
    return totals[0].new_empty(len(totals), *totals[0].shape, parts).unbind()


def _supports(x: Tensor, *others: Any) -> str | None:
    if not x.numel():
        return "there is nothing to normalise"
    return runtime.why_not_triton(x, *(t for t in others if isinstance(t, Tensor)))


BATCH_NORM = Kernel("triton", batch_norm, _supports)
BATCH_NORM_BACKWARD = Kernel("triton", backward, _supports)
