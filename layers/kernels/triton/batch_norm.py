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
from .channels import as_pixels, channels_are_adjacent, over_channels, over_pixels, pixel_offset
from .runtime import jit, tl
from .windows import power_of_2

BLOCK, WARPS = 2048, 8  # values of a block
MAX_CHANNELS = 64  # of a block
FEW_PIXELS = 256  # of an image that is not channels last, which shares its block with other channels
PROGRAMS = 2048  # that together find the statistics of a large volume
MIN_BLOCKS = 4  # of a part
MAX_PARTS = 1024


@jit
def channels_of_part(channels, BC: tl.constexpr):
    """The channels of a program, and which part of their pixels it has."""
    columns = tl.cdiv(channels, BC)
    number = tl.program_id(0)
    return number % columns * BC + tl.arange(0, BC), number // columns


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
    x, means, variances, x_n, x_c, x_p, per_part, parts, count, channels, pixels,
    LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """1.  Mean and variance of a part of the pixels, to (C, parts)."""
    c, part = channels_of_part(channels, BC)
    first = part * per_part
    end = tl.minimum(first + per_part, count)
    in_channels, image = over_channels(c < channels, LAST), over_channels(c * x_c, LAST)
    mean = tl.zeros([BP, BC] if LAST else [BC, BP], tl.float32)
    squares = tl.zeros(mean.shape, tl.float32)
    seen = tl.zeros([BP], tl.float32)  # numbers at a place of the block: a last block is not full
    steps = 0.0
    for start in range(first, end, BP):
        at = start + tl.arange(0, BP)
        mask = over_pixels(at < end, LAST) & in_channels
        pixel = over_pixels(pixel_offset(at, pixels, x_n, x_p), LAST)
        value = tl.load(x + (pixel + image), mask=mask, other=0.0).to(tl.float32)
        steps += 1.0
        deviation = tl.where(mask, value - mean, 0.0)
        mean += deviation * (1.0 / steps)
        squares += deviation * (value - mean)
        seen += (at < end).to(tl.float32)
    n, mean, squares = merged(over_pixels(seen, LAST), mean, squares, 0 if LAST else 1)
    out = over_channels(c * parts + part, LAST)
    tl.store(means + out, mean, mask=in_channels)
    tl.store(variances + out, squares / n, mask=in_channels)


@jit
def merge_statistics_kernel(
    means, variances, mean, variance, per_part, parts, count, PARTS: tl.constexpr
):
    """2.  Mean and variance of a channel."""
    part = tl.arange(0, PARTS)
    exists = part < parts
    at = tl.program_id(0) * parts + part
    n = tl.where(exists, tl.minimum(count - part * per_part, per_part), 0).to(tl.float32)
    squares = n * tl.load(variances + at, mask=exists, other=0.0)
    centres = tl.load(means + at, mask=exists, other=0.0)
    n, centre, squares = merged(n, centres, squares, 0)
    one = tl.program_id(0) + tl.arange(0, 1)
    tl.store(mean + one, centre)
    tl.store(variance + one, squares / n)


@jit
def normalize_kernel(
    x, y, gamma, beta, mean, variance, eps, x_n, x_c, x_p, y_n, y_c, y_p,
    count, channels, pixels, LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """3.  y = gamma (x - mean) / sqrt(variance + eps) + beta."""
    c, block = channels_of_part(channels, BC)
    at, exists = block * BP + tl.arange(0, BP), c < channels
    root = tl.rsqrt(tl.load(variance + c, mask=exists, other=1.0) + eps)
    slope = tl.load(gamma + c, mask=exists, other=0.0).to(tl.float32) * root
    shift = tl.load(beta + c, mask=exists, other=0.0).to(tl.float32)
    centre = tl.load(mean + c, mask=exists, other=0.0)
    mask = over_pixels(at < count, LAST) & over_channels(exists, LAST)
    place = over_pixels(pixel_offset(at, pixels, x_n, x_p), LAST) + over_channels(c * x_c, LAST)
    value = tl.load(x + place, mask=mask, other=0.0).to(tl.float32) - over_channels(centre, LAST)
    value = value * over_channels(slope, LAST) + over_channels(shift, LAST)
    out = over_pixels(pixel_offset(at, pixels, y_n, y_p), LAST) + over_channels(c * y_c, LAST)
    tl.store(y + out, value.to(y.dtype.element_ty), mask=mask)


@jit
def sums_kernel(
    dy, x, mean, variance, dgammas, dbetas, eps, dy_n, dy_c, dy_p, x_n, x_c, x_p, per_part, parts,
    count, channels, pixels, LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """1.  What a part of the pixels adds to dgamma = sum dy h and to dbeta = sum dy."""
    c, part = channels_of_part(channels, BC)
    first = part * per_part
    end = tl.minimum(first + per_part, count)
    exists, in_channels = c < channels, over_channels(c < channels, LAST)
    dy_image, x_image = over_channels(c * dy_c, LAST), over_channels(c * x_c, LAST)
    centre = over_channels(tl.load(mean + c, mask=exists, other=0.0), LAST)
    root = tl.rsqrt(tl.load(variance + c, mask=exists, other=1.0) + eps)
    products = tl.zeros([BP, BC] if LAST else [BC, BP], tl.float32)
    sums = tl.zeros(products.shape, tl.float32)
    for start in range(first, end, BP):
        at = start + tl.arange(0, BP)
        mask = over_pixels(at < end, LAST) & in_channels
        dy_pixel = over_pixels(pixel_offset(at, pixels, dy_n, dy_p), LAST)
        x_pixel = over_pixels(pixel_offset(at, pixels, x_n, x_p), LAST)
        upstream = tl.load(dy + (dy_pixel + dy_image), mask=mask, other=0.0).to(tl.float32)
        value = tl.load(x + (x_pixel + x_image), mask=mask, other=0.0).to(tl.float32)
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
    dy, x, dx, gamma, mean, variance, dgamma, dbeta, eps, dy_n, dy_c, dy_p, x_n, x_c, x_p,
    dx_n, dx_c, dx_p, count, channels, pixels, LAST: tl.constexpr, BP: tl.constexpr,
    BC: tl.constexpr,
):  # fmt: skip
    """3.  dx = gamma / sqrt(variance + eps) * (dy - dbeta / M - h dgamma / M)."""
    c, block = channels_of_part(channels, BC)
    at, exists = block * BP + tl.arange(0, BP), c < channels
    root = tl.rsqrt(tl.load(variance + c, mask=exists, other=1.0) + eps)
    slope = tl.load(gamma + c, mask=exists, other=0.0).to(tl.float32) * root
    shift = tl.load(dbeta + c, mask=exists, other=0.0) / count
    tilt = tl.load(dgamma + c, mask=exists, other=0.0) / count * root
    centre = tl.load(mean + c, mask=exists, other=0.0)
    mask = over_pixels(at < count, LAST) & over_channels(exists, LAST)
    place = over_pixels(pixel_offset(at, pixels, x_n, x_p), LAST) + over_channels(c * x_c, LAST)
    value = tl.load(x + place, mask=mask, other=0.0).to(tl.float32) - over_channels(centre, LAST)
    place = over_pixels(pixel_offset(at, pixels, dy_n, dy_p), LAST) + over_channels(c * dy_c, LAST)
    upstream = tl.load(dy + place, mask=mask, other=0.0).to(tl.float32)
    centred = upstream - over_channels(shift, LAST) - value * over_channels(tilt, LAST)
    value = centred * over_channels(slope, LAST)
    out = over_pixels(pixel_offset(at, pixels, dx_n, dx_p), LAST) + over_channels(c * dx_c, LAST)
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
    x, y = as_pixels(x), as_pixels(y)
    volume = _Volume(y)
    means, variances = volume.scratch(mean, variance)
    volume.launch_parts(statistics_kernel, (x,), x, means, variances)
    if volume.parts > 1:
        counts = volume.per_part, volume.parts, volume.count
        runtime.launch(
            merge_statistics_kernel, len(mean), means, variances, mean, variance, *counts,
            PARTS=MAX_PARTS,
        )  # fmt: skip
    constants = gamma.contiguous(), beta.contiguous(), mean, variance, eps
    volume.launch(normalize_kernel, (x, y), x, y, *constants)


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
    dy, x, dx = map(as_pixels, (dy, x, dx))
    gamma, mean, variance = (each.contiguous() for each in (gamma, mean, variance))
    volume = _Volume(dx)
    dgammas, dbetas = volume.scratch(dgamma, dbeta)
    volume.launch_parts(sums_kernel, (dy, x), dy, x, mean, variance, dgammas, dbetas, eps)
    if volume.parts > 1:
        runtime.launch(
            add_up_kernel, len(dgamma), dgammas, dbetas, dgamma, dbeta, volume.parts,
            PARTS=MAX_PARTS,
        )  # fmt: skip
    constants = gamma, mean, variance, dgamma, dbeta, eps
    volume.launch(gradient_kernel, (dy, x, dx), dy, x, dx, *constants)


class _Volume:
    """How (N, C, P) is cut into blocks and parts."""

    def __init__(self, like: Tensor) -> None:
        n, channels, pixels = like.shape
        self.count, last = n * pixels, channels_are_adjacent(like)
        in_channels = MAX_CHANNELS if last else 1 if pixels >= FEW_PIXELS else 8
        in_channels = min(in_channels, power_of_2(channels))
        in_pixels = BLOCK // in_channels
        self.columns, blocks = -(-channels // in_channels), -(-self.count // in_pixels)
        most = min(MAX_PARTS, max(1, PROGRAMS // self.columns))
        in_part = max(MIN_BLOCKS, -(-blocks // most))
        self.blocks, self.per_part = blocks, in_part * in_pixels
        self.parts = -(-blocks // in_part)
        self.sizes = self.count, channels, pixels
        self.constants = dict(LAST=last, BP=in_pixels, BC=in_channels, num_warps=WARPS)

    def scratch(self, *totals: Tensor) -> Sequence[Tensor]:
        """(C, parts) for each of some (C); of a single part, these themselves."""
        if self.parts == 1:
            return totals
        return totals[0].new_empty(len(totals), *totals[0].shape, self.parts).unbind()

    def launch(self, kernel: Any, images: Sequence[Tensor], *arguments: Any) -> None:
        """A program for each block."""
        strides = [stride for each in images for stride in each.stride()]
        programs = self.blocks * self.columns
        runtime.launch(kernel, programs, *arguments, *strides, *self.sizes, **self.constants)

    def launch_parts(self, kernel: Any, images: Sequence[Tensor], *arguments: Any) -> None:
        """A program for each part."""
        strides = [stride for each in images for stride in each.stride()]
        counts, programs = (self.per_part, self.parts), self.parts * self.columns
        arguments = *arguments, *strides, *counts, *self.sizes
        runtime.launch(kernel, programs, *arguments, **self.constants)


def _supports(x: Tensor, *others: Any) -> str | None:
    if not x.numel():
        return "there is nothing to normalise"
    return runtime.why_not_triton(x, *(t for t in others if isinstance(t, Tensor)))


BATCH_NORM = Kernel("triton", batch_norm, _supports)
BATCH_NORM_BACKWARD = Kernel("triton", backward, _supports)
