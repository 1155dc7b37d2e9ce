"""Batch normalisation on a GPU: three kernels forward, three backward.

1. Every channel's pixels are cut into parts, a program for each: what a part adds to the sums.
2. A program for each channel merges its parts, always in the same way; a single part needs none.
3. Every number is computed from x and what is known of its channel.

                part 0   part 1   part 2
    channel 0  [ m, v ] [ m, v ] [ m, v ]  ->  mean, variance     Memory is passed over three times
    channel 1  [ m, v ] [ m, v ] [ m, v ]  ->  mean, variance     forward (x; x, y), and five times
                  1                         2                     backward (dy, x; dy, x, dx).

A variance is no difference of large numbers.  A program of 1 adds up x - k and (x - k)^2, with the
mean of its first block for k.  That is no further from the part's mean m than its values allow: if
one of B blocks has the mean k, then v >= (k - m)^2 / B.  So B bounds what rounding can take from

    v = mean of (x - k)^2  -  (m - k)^2

and 2 subtracts nothing (Chan):    n v = sum over parts of  n_i v_i + n_i (m_i - m)^2
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ...ops.registry import Kernel
from . import runtime
from .channels import Blocks, both, channels_of, of_channels, offset, over, pixels_in, pixels_of
from .runtime import jit, jit_for_any, tl

BLOCK = dict(adjacent=64, warps=8)
BYTES = 8192  # of a block, in float32 where images are small
PARTS = dict(programs=2048, most=1024, blocks=4)  # of which a part has that many at least


@jit
def blocks_of_part(channels, per_part, blocks, BC: tl.constexpr):
    """Which part of the pixels a program has; its first block, and the one after its last."""
    part = tl.program_id(0) // tl.cdiv(channels, BC)
    return part, part * per_part, tl.minimum((part + 1) * per_part, blocks)


@jit_for_any("parts", "per_part", "blocks", "per_image")
def statistics_kernel(
    x, y, means, variances, parts, per_part, blocks, x_n, x_c, x_p, y_n, y_c, y_p,
    per_image, channels, pixels, LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """1.  Mean and variance of a part of the pixels, to (C, parts)."""
    c = channels_of(tl.program_id(0), channels, BC)
    part, first, end = blocks_of_part(channels, per_part, blocks, BC)
    exists = c < channels
    n, p = pixels_of(first, per_image, BP)
    mask = both(exists, p < pixels, LAST)
    value = tl.load(x + offset(n, c, p, x_n, x_c, x_p, LAST), mask=mask, other=0.0)
    total = tl.sum(value.to(tl.float32), 0 if LAST else 1)
    k = (total / pixels_in(first, first + 1, per_image, pixels, BP)).to(x.dtype.element_ty)
    other = tl.broadcast_to(over(k, LAST), mask.shape)  # adds nothing
    centre = over(k.to(tl.float32), LAST)
    sums = tl.zeros(mask.shape, tl.float32)
    squares = tl.zeros(mask.shape, tl.float32)
    for block in range(first, end):
        n, p = pixels_of(block, per_image, BP)
        mask = both(exists, p < pixels, LAST)
        value = tl.load(x + offset(n, c, p, x_n, x_c, x_p, LAST), mask=mask, other=other)
        deviation = value.to(tl.float32) - centre
        sums += deviation
        squares += deviation * deviation
    count = pixels_in(first, end, per_image, pixels, BP)
    shift = tl.sum(sums, 0 if LAST else 1) / count
    variance = tl.sum(squares, 0 if LAST else 1) / count - shift * shift
    out = c * parts + part
    tl.store(means + out, k.to(tl.float32) + shift, mask=exists)
    tl.store(variances + out, tl.where(variance < 0, 0.0, variance), mask=exists)  # NaN stays


@jit_for_any("parts", "per_part", "blocks", "per_image", "pixels")
def merge_statistics_kernel(
    means, variances, mean, variance, parts, per_part, blocks, per_image, pixels,
    BP: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """2.  Mean and variance of a channel."""
    c, part = tl.program_id(0), tl.arange(0, PARTS)
    exists, at = part < parts, c * parts + part
    end = tl.minimum((part + 1) * per_part, blocks)
    count = pixels_in(part * per_part, end, per_image, pixels, BP)
    count = tl.where(exists, count, 0).to(tl.float32)
    m = tl.load(means + at, mask=exists, other=0.0)
    v = tl.load(variances + at, mask=exists, other=0.0)
    n = tl.sum(count)
    centre = tl.sum(count * m) / n
    centre += tl.sum(count * (m - centre)) / n  # what rounding has left
    deviation = m - centre
    tl.store(mean + c, centre)
    tl.store(variance + c, tl.sum(count * (v + deviation * deviation)) / n)


@jit_for_any("per_image")
def normalize_kernel(
    x, y, gamma, beta, mean, variance, eps, x_n, x_c, x_p, y_n, y_c, y_p,
    per_image, channels, pixels, LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """3.  y = gamma (x - mean) / sqrt(variance + eps) + beta."""
    c = channels_of(tl.program_id(0), channels, BC)
    n, p = pixels_of(tl.program_id(0) // tl.cdiv(channels, BC), per_image, BP)
    slope = of_channels(gamma, c, channels) * tl.rsqrt(of_channels(variance, c, channels) + eps)
    shift, centre = of_channels(beta, c, channels), of_channels(mean, c, channels)
    mask = both(c < channels, p < pixels, LAST)
    place = offset(n, c, p, x_n, x_c, x_p, LAST)
    value = tl.load(x + place, mask=mask, other=0.0).to(tl.float32) - over(centre, LAST)
    value = value * over(slope, LAST) + over(shift, LAST)
    out = offset(n, c, p, y_n, y_c, y_p, LAST)
    tl.store(y + out, value.to(y.dtype.element_ty), mask=mask)


@jit_for_any("parts", "per_part", "blocks", "per_image")
def sums_kernel(
    dy, x, dx, mean, variance, dgammas, dbetas, eps, parts, per_part, blocks,
    dy_n, dy_c, dy_p, x_n, x_c, x_p, dx_n, dx_c, dx_p, per_image, channels, pixels,
    LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """1.  What a part of the pixels adds to dgamma = sum dy h and to dbeta = sum dy."""
    c = channels_of(tl.program_id(0), channels, BC)
    part, first, end = blocks_of_part(channels, per_part, blocks, BC)
    exists = c < channels
    centre = over(of_channels(mean, c, channels), LAST)
    root = tl.rsqrt(of_channels(variance, c, channels) + eps)
    products = tl.zeros([BP, BC] if LAST else [BC, BP], tl.float32)
    sums = tl.zeros(products.shape, tl.float32)
    for block in range(first, end):
        n, p = pixels_of(block, per_image, BP)
        mask = both(exists, p < pixels, LAST)
        place = offset(n, c, p, dy_n, dy_c, dy_p, LAST)
        upstream = tl.load(dy + place, mask=mask, other=0.0).to(tl.float32)
        place = offset(n, c, p, x_n, x_c, x_p, LAST)
        value = tl.load(x + place, mask=mask, other=0.0).to(tl.float32)
        products += upstream * (value - centre)
        sums += upstream
    out = c * parts + part
    tl.store(dgammas + out, tl.sum(products, 0 if LAST else 1) * root, mask=exists)
    tl.store(dbetas + out, tl.sum(sums, 0 if LAST else 1), mask=exists)


@jit_for_any("parts")
def add_up_kernel(dgammas, dbetas, dgamma, dbeta, parts, PARTS: tl.constexpr):
    """2.  dgamma and dbeta of a channel."""
    c, part = tl.program_id(0), tl.arange(0, PARTS)
    at, exists = c * parts + part, part < parts
    tl.store(dgamma + c, tl.sum(tl.load(dgammas + at, mask=exists, other=0.0)))
    tl.store(dbeta + c, tl.sum(tl.load(dbetas + at, mask=exists, other=0.0)))


@jit_for_any("count", "per_image")
def gradient_kernel(
    dy, x, dx, gamma, mean, variance, dgamma, dbeta, eps, count, dy_n, dy_c, dy_p,
    x_n, x_c, x_p, dx_n, dx_c, dx_p, per_image, channels, pixels, LAST: tl.constexpr,
    BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """3.  dx = gamma / sqrt(variance + eps) * (dy - dbeta / M - h dgamma / M)."""
    c = channels_of(tl.program_id(0), channels, BC)
    n, p = pixels_of(tl.program_id(0) // tl.cdiv(channels, BC), per_image, BP)
    root = tl.rsqrt(of_channels(variance, c, channels) + eps)
    slope, centre = of_channels(gamma, c, channels) * root, of_channels(mean, c, channels)
    shift = of_channels(dbeta, c, channels) / count
    tilt = of_channels(dgamma, c, channels) / count * root
    mask = both(c < channels, p < pixels, LAST)
    place = offset(n, c, p, x_n, x_c, x_p, LAST)
    value = tl.load(x + place, mask=mask, other=0.0).to(tl.float32) - over(centre, LAST)
    place = offset(n, c, p, dy_n, dy_c, dy_p, LAST)
    upstream = tl.load(dy + place, mask=mask, other=0.0).to(tl.float32)
    centred = upstream - over(shift, LAST) - value * over(tilt, LAST)
    out = offset(n, c, p, dx_n, dx_c, dx_p, LAST)
    value = centred * over(slope, LAST)
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
    parts, *counts = blocks.parts(**PARTS)
    means, variances = _scratch(parts, mean, variance)
    blocks.launch(statistics_kernel, parts, means, variances, parts, *counts)
    if parts > 1:
        runtime.launch(
            merge_statistics_kernel, len(mean), means, variances, mean, variance, parts, *counts,
            blocks.per_image, blocks.pixels, BP=blocks.constants["BP"], PARTS=PARTS["most"],
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
    parts, *counts = blocks.parts(**PARTS)
    dgammas, dbetas = _scratch(parts, dgamma, dbeta)
    blocks.launch(sums_kernel, parts, mean, variance, dgammas, dbetas, eps, parts, *counts)
    if parts > 1:
        runtime.launch(
            add_up_kernel, len(mean), dgammas, dbetas, dgamma, dbeta, parts, PARTS=PARTS["most"]
        )
    constants = gamma, mean, variance, dgamma, dbeta, eps, x.numel() // len(mean)
    blocks.launch(gradient_kernel, blocks.number, *constants)


def _blocks(*images: Tensor) -> Blocks:
    pixels = images[0].shape[2:].numel()
    size = BYTES // (images[-1].itemsize if pixels > 256 else 4)
    return Blocks(*images, size=size, apart=8 if pixels > 64 else 32, **BLOCK)


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
