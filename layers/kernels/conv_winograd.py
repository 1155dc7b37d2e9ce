"""Winograd's convolution: 3x3 filters at stride 1 with a quarter of the multiplications.

Four outputs of a filter of three taps, in one dimension, take 12 multiplications; by way of
polynomials (evaluate at six points, multiply, interpolate) they take 6:

    y = A^T [(G w) * (B^T d)],     d six inputs, w three taps, y four outputs.

In two dimensions each of A, B, G is applied along rows and along columns, and a 4x4 tile of outputs
takes 36 multiplications instead of 144.  Summed over channels, the elementwise product in the
middle is 36 products of matrices, so that the whole is a chain of products:

    V [36 x tiles C]  = B2 [36 x 36] @ D        D: the 6x6 pixels that each tile sees
    U [36 x C K]      = G2 [36 x 9]  @ W
    M[e] [tiles x K]  = V[e] @ U[e]             for each of the 36 points e
    Y [16 x tiles K]  = A2 [16 x 36] @ M

V and Y are computed by loops (conv_winograd_loops.py): the same sums with their common parts
shared, and D never materialised.

Its derivatives are such chains again: with respect to the image, the same convolution with the
filters rotated by 180 degrees; with respect to the filters, the transposed chain.  The price is
accuracy: about 1e-5 relative in float32 where im2col has 1e-6, because the points +-2 bring factors
of up to 64 together.

Letters: G groups (and the matrix G), C = C_in/G and K = C_out/G channels of a group, T tiles.
Source: Lavin and Gray 2015, section 4.1, F(4x4, 3x3), with the points 0, +-1, +-2 and infinity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..ops.dtypes import upcast
from ..ops.geometry import Geometry, Pair
from ..ops.registry import Kernel
from . import conv_winograd_loops as loops
from .conv_winograd_plan import REACH, TILE, Chunk, Plan, partition, tiling
from .jit import array, parallel_for, why_not_jit
from .openmp import parallel_map

MIN_CHANNELS = 48  # on both sides, from which fewer multiplications outweigh the transforms

G = (
    (1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1),
)  # fmt: skip
G2 = torch.tensor(
    [[a * b for a in above for b in row] for above in G for row in G],
    dtype=torch.float64,
    device="cpu",
)


def convolve(operands: Callable[..., tuple], *inputs: Any) -> None:
    """The convolution, or its gradient with respect to the image, which is another.

    Threads divide the images; where tiles are few, the filters.
    """
    x, w, g2, padding, y, channels_last = operands(*inputs)
    groups, filters = w.shape[:2]
    in_place = channels_last and y.dtype == x.dtype

    def multiply(images: slice, plan: Plan, v: Callable[[Chunk], Tensor], some: slice) -> None:
        scratch_u, scratch_m, scratch_y = plan.filter_scratch(x)
        u = _filter_transform(g2, w[:, some], scratch_u)
        for chunk in plan.chunks:
            tiles = v(chunk)
            m = _view(scratch_m, *tiles.shape[:3], u.shape[3])  # 36, G, T, K
            torch.bmm(tiles.flatten(0, 1), u.flatten(0, 1), out=m.flatten(0, 1))
            part = y[images][chunk[0]]
            if in_place:
                _output_transform(m, part, chunk, plan, some.start)
            else:
                part = part.unflatten(1, (groups, -1))[:, :, some]
                _output_transform_copied(m, part, chunk, plan, scratch_y)

    def transform(images: slice) -> tuple[slice, Plan, Callable[[Chunk], Tensor]]:
        plan = Plan.of(x[images], tiling(y.shape[2:]), groups, filters)
        return images, plan, _input_transform(x[images], padding, plan)

    def multiply_images(images: slice) -> None:
        images, plan, v = transform(images)
        for some in plan.filters:
            multiply(images, plan, v, some)

    parts = partition(x, tiling(y.shape[2:]), w.numel())
    if len(parts) > 1:
        parallel_map(multiply_images, parts, x)
    else:
        _, plan, _ = transformed = transform(parts[0])
        parallel_map(partial(multiply, *transformed), plan.filters, x)


def _forward_operands(
    x: Tensor, weight: Tensor, geometry: Geometry, channels_last: bool, algorithm: str, y: Tensor
) -> tuple:
    """x (N, G*C, H, W), filters (G, K, C, 3, 3), G2, the padding and y (N, G*K, H_out, W_out)."""
    x, w = upcast(x), upcast(weight).unflatten(0, (geometry.groups, -1))
    return x, w, _g2(x.dtype), geometry.padding, y, channels_last


def _input_operands(
    weight: Tensor,
    g: Tensor,
    geometry: Geometry,
    image_size: Pair,
    channels_last: bool,
    algorithm: str,
    x: Tensor,
) -> tuple:
    """Of the same convolution of g, with every filter rotated and inputs for outputs."""
    (ph, pw), g = geometry.padding, upcast(g)
    w = upcast(weight).unflatten(0, (geometry.groups, -1)).transpose(1, 2)
    rotated = _g2(g.dtype).flip(1)  # G2 for the taps in reverse order
    return g, w, rotated, (2 - ph, 2 - pw), x, channels_last


def conv2d_weight(
    x: Tensor, g: Tensor, geometry: Geometry, channels_last: bool, algorithm: str, weight: Tensor
) -> None:
    """U[e]^T += (A2^T g)[e]^T @ V[e] over the chunks of tiles, then W = G2^T U."""
    x, g, groups = upcast(x), upcast(g), geometry.groups
    channels, filters = x.shape[1] // groups, g.shape[1] // groups
    g2 = _g2(x.dtype)

    def correlate(images: slice) -> Tensor:
        w = x.new_empty(groups, filters, channels, 3, 3)
        plan = Plan.of(x[images], tiling(g.shape[2:]), groups, filters)
        v = _input_transform(x[images], geometry.padding, plan)

        def add(some: slice) -> None:
            scratch_u, scratch_m, scratch_y = plan.filter_scratch(x)
            u = _view(scratch_u, 36, groups, some.stop - some.start, channels)
            for number, chunk in enumerate(plan.chunks):
                part = g[images][chunk[0]].unflatten(1, (groups, -1))[:, :, some]
                m = _output_transform_adjoint(part, chunk, plan, scratch_m, scratch_y)
                beta = 0 if number == 0 else 1
                u.flatten(0, 1).baddbmm_(m.mT.flatten(0, 1), v(chunk).flatten(0, 1), beta=beta)
            taps = torch.mm(g2.T, u.flatten(1), out=x.new_empty(9, u[0].numel()))
            w[:, some] = taps.view(3, 3, *u.shape[1:]).permute(2, 3, 4, 0, 1)  # 3, 3, G, K, C

        parallel_map(add, plan.filters, x)
        return w if plan.chunks else w.zero_()  # no image, no gradient

    parts = partition(x, tiling(g.shape[2:]), 9 * groups * filters * channels)
    weight.copy_(reduce(torch.add, parallel_map(correlate, parts, x)).flatten(0, 1))


def _input_transform(x: Tensor, padding: Pair, plan: Plan) -> Callable[[Chunk], Tensor]:
    """How to get V (36, G, T, C) of a chunk.  A single one is transformed once, for all filters."""
    scratch_d, scratch_v = plan.tile_scratch(x)

    def transform(chunk: Chunk) -> Tensor:
        images, band = chunk
        start, rows = TILE * band.start - padding[0], band.stop - band.start
        pixels, first = _rows(x[images], start, TILE * rows + REACH - TILE, scratch_d)
        tiles = len(x[images]) * rows * plan.columns
        v = _view(scratch_v, 36, plan.groups, tiles, plan.channels)
        where = first - start, padding[1], rows, plan.columns
        parallel_for(loops.input_transform, tiles, v.numel(), pixels, *where, array(v))
        return v

    if len(plan.chunks) > 1:
        return transform
    v = [transform(chunk) for chunk in plan.chunks]
    return lambda chunk: v[0]


def _filter_transform(g2: Tensor, w: Tensor, scratch: Tensor) -> Tensor:
    """U (36, G, C, K) of filters (G, K, C, 3, 3), C and K in memory in the same order as there."""
    adjacent = w.stride(1) < w.stride(2)
    taps = (w.transpose(1, 2) if adjacent else w).permute(3, 4, 0, 1, 2).flatten(0, 1)
    u = _view(scratch, 36, *taps.shape[1:])
    torch.mm(g2, taps.flatten(1), out=u.flatten(1))
    return u if adjacent else u.mT


def _output_transform(m: Tensor, y: Tensor, chunk: Chunk, plan: Plan, filter: int) -> None:
    """Y of a chunk, to where it belongs in y (n, G*K, H_out, W_out), channels last.

    Args:
        filter: the first in every group.
    """
    band = chunk[1]
    rows = TILE * band.start, band.stop - band.start
    where = array(y.permute(0, 2, 3, 1)), *rows, plan.columns, plan.groups, filter
    parallel_for(loops.output_transform, m.shape[2], m.numel(), array(m), *where)


def _output_transform_copied(
    m: Tensor, part: Tensor, chunk: Chunk, plan: Plan, scratch: Tensor
) -> None:
    """The same for outputs (n, G, K, H_out, W_out) in another order or precision."""
    n, groups, filters, height, width = part.shape
    top = TILE * chunk[1].start
    rows = chunk[1].stop - chunk[1].start
    pixels = _view(scratch, n, min(TILE * rows, height - top), width, groups * filters)
    where = array(pixels), 0, rows, plan.columns, groups, 0
    parallel_for(loops.output_transform, m.shape[2], m.numel(), array(m), *where)
    part[:, :, :, top : top + TILE * rows] = pixels.unflatten(3, (groups, -1)).permute(
        0, 3, 4, 1, 2
    )


def _output_transform_adjoint(
    part: Tensor, chunk: Chunk, plan: Plan, scratch_m: Tensor, scratch_y: Tensor
) -> Tensor:
    """M = A2^T g of a chunk, g (n, G, K, H_out, W_out)."""
    band = chunk[1]
    start, rows = TILE * band.start, band.stop - band.start
    pixels, first = _rows(part.flatten(1, 2), start, TILE * rows, scratch_y)
    m = _view(scratch_m, 36, plan.groups, len(part) * rows * plan.columns, part.shape[2])
    where = pixels, start - first, rows, plan.columns
    parallel_for(loops.output_transform_adjoint, m.shape[2], m.numel(), *where, array(m))
    return m


def _rows(x: Tensor, start: int, count: int, scratch: Tensor) -> tuple[Any, int]:
    """Rows of (n, G*C, H, W) as pixels (n, R, W, G*C), and the number of the first.

    From `start` on, as many as `count` and the image allow; all, where nothing need be copied.
    """
    pixels = x.permute(0, 2, 3, 1)
    if pixels.is_contiguous():
        return array(pixels), 0
    pixels = pixels[:, max(0, start) : start + count]
    return array(_view(scratch, *pixels.shape).copy_(pixels)), max(0, start)


def _g2(dtype: torch.dtype) -> Tensor:
    """G applied along rows and along columns, as one matrix (36, 9)."""
    return G2.to(dtype)


def _view(scratch: Tensor, *shape: int) -> Tensor:
    return scratch[: prod(shape)].view(shape)


def _why_not(
    x: Tensor, geometry: Geometry, algorithm: str, channels: int, output_size: Sequence[int]
) -> str | None:
    """
    Args:
        channels: the fewer of C_in and C_out.
    """
    if algorithm in ("im2col", "tf32x3"):
        return f"{algorithm} was asked for"
    if geometry._replace(padding=(0, 0), groups=1) != Geometry((3, 3)):
        return "it is for 3x3 filters with stride and dilation 1"
    if max(geometry.padding) > 2:
        return "it is for a padding of up to 2"
    if reason := why_not_jit(upcast(x[:0])):
        return reason
    if algorithm == "winograd":
        return None
    if x.dtype != torch.float32 or geometry.groups > 1:
        return "it was measured in float32 and one group only"
    if channels < MIN_CHANNELS:
        return f"fewer than {MIN_CHANNELS} channels do not outweigh the transforms"
    if TILE**2 * prod(tiling(output_size)) > 2 * prod(output_size):
        return "less than half of its tiles would be outputs"
    return None


def _supports(x: Tensor, weight: Tensor, geometry: Geometry, _: bool, algorithm: str) -> str | None:
    size = geometry.output_size(x.shape[2:])
    return _why_not(x, geometry, algorithm, min(weight.shape[:2]), size)


def _supports_input(
    weight: Tensor, g: Tensor, geometry: Geometry, image_size: Pair, _: bool, algorithm: str
) -> str | None:
    return _why_not(g, geometry, algorithm, min(weight.shape[:2]), g.shape[2:])


def _supports_weight(
    x: Tensor, g: Tensor, geometry: Geometry, _: bool, algorithm: str
) -> str | None:
    return _why_not(x, geometry, algorithm, min(x.shape[1], g.shape[1]), g.shape[2:])


CONV2D = Kernel("winograd", partial(convolve, _forward_operands), _supports)
CONV2D_INPUT = Kernel("winograd", partial(convolve, _input_operands), _supports_input)
CONV2D_WEIGHT = Kernel("winograd", conv2d_weight, _supports_weight)
