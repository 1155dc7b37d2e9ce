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

On a CPU, V and Y are computed by loops (conv_winograd_loops.py): the same sums with their common
parts shared, and D never materialised.  Elsewhere they are the products that stand here.

Its derivatives are such chains again: by the image, the same convolution with the filters turned
round; by the filters, the transposed chain.  The price is accuracy: about 1e-5 relative in float32
where im2col has 1e-6, because the points +-2 bring factors of up to 64 together.

Letters: G groups (and the matrix G), C = C_in/G and K = C_out/G channels of a group, T tiles.
Source: Lavin and Gray 2015, section 4.1, F(4x4, 3x3), with the points 0, +-1, +-2 and infinity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, reduce
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..ops.geometry import Geometry, Pair
from ..ops.legacy import channels_last, operator, upcast
from . import conv_winograd_loops as loops
from .conv_im2col import plan_conv2d_weight
from .conv_winograd_plan import REACH, TILE, Chunk, Plan, partition, tiling
from .jit import array, has_jit, parallel_for
from .openmp import parallel_map

Matrix = tuple[tuple[float, ...], ...]

A_T: Matrix = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
B_T: Matrix = (
    (4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1),
)  # fmt: skip
G: Matrix = (
    (1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1),
)  # fmt: skip


def fits(geometry: Geometry) -> bool:
    """Whether the chain computes this convolution: 3x3, stride and dilation 1, padding up to 2."""
    same = geometry._replace(padding=(0, 0), groups=1)
    return same == Geometry((3, 3)) and max(geometry.padding) <= 2


def _both_ways(matrix: Matrix, like: Tensor) -> Tensor:
    """The matrix applied along rows and along columns, as one matrix."""
    return _kronecker_square(matrix, like.dtype, like.device)


@cache  # on a GPU every constant that is made anew is a transfer, for which it has to wait
def _kronecker_square(matrix: Matrix, dtype: torch.dtype, device: torch.device) -> Tensor:
    square = [[a * b for a in above for b in row] for above in matrix for row in matrix]
    return torch.tensor(square, dtype=dtype, device=device)


def _filters(g2: Tensor, w: Tensor, scratch: Tensor) -> Tensor:
    """U (36, G, C, K) of filters (G, K, C, 3, 3), C and K in memory in the same order as there."""
    if w.stride(1) < w.stride(2):
        return _transform(g2, _taps(w.transpose(1, 2), scratch), scratch)
    return _transform(g2, _taps(w, scratch), scratch).mT


def _taps(w: Tensor, scratch: Tensor) -> Tensor:
    """(G, K, C, 3, 3) as (9, G, K, C): a view, if they lie as torch's do, which costs nothing."""
    return w.permute(3, 4, 0, 1, 2).flatten(0, 1).to(scratch.dtype)


def _tiles(
    volume: Tensor, before: Pair, side: int, band: slice, columns: int, scratch: Sequence[Tensor]
) -> Tensor:
    """The side x side pixels from each tile's corner on, in a band of tiles.

    Args:
        volume: (n, G, C, H, W), with `before` zeros above and to the left, and as many as it takes
            below and to the right.
        scratch: for the band with its zeros, and for the tiles.
    Returns:
        (side^2, G, T, C).
    """
    (top, left), (n, groups, channels, height, width) = before, volume.shape
    count, reach = band.stop - band.start, side - TILE
    padded = _view(scratch[0], n, TILE * count + reach, TILE * columns + reach, groups, channels)
    above = TILE * band.start - top  # the row of the volume on which the first of `padded` lies
    first, stop = max(0, above), min(height, above + padded.shape[1])
    inside = padded.zero_()[:, first - above : stop - above, left : left + width]
    inside.copy_(volume.permute(0, 3, 4, 1, 2)[:, first:stop])
    by_image, by_row, by_pixel, by_group, _ = padded.stride()
    seen = padded.as_strided(
        (side, side, groups, n, count, columns, channels),
        (by_row, by_pixel, by_group, by_image, TILE * by_row, TILE * by_pixel, 1),
    )
    _view(scratch[1], *seen.shape).copy_(seen)
    return _view(scratch[1], side * side, groups, n * count * columns, channels)


def _rows(volume: Tensor, start: int, count: int, scratch: Tensor) -> tuple[Any, int]:
    """Rows of (n, G, C, H, W) as pixels (n, R, W, G*C), and the number of the first.

    From `start` on, as many as `count` and the volume allow; all, where nothing need be copied.
    """
    pixels = volume.permute(0, 3, 4, 1, 2)
    if pixels.is_contiguous():
        return array(pixels.flatten(3)), 0
    pixels = pixels[:, max(0, start) : start + count]
    return array(_view(scratch, *pixels.shape).copy_(pixels).flatten(3)), max(0, start)


def _transform(matrix: Tensor, tiles: Tensor, scratch: Tensor) -> Tensor:
    """The matrix times every tile; (points, G, T, channels) before and after."""
    out = _view(scratch, len(matrix), *tiles.shape[1:])
    torch.mm(matrix, tiles.flatten(1), out=out.flatten(1))
    return out


def _products(a: Tensor, b: Tensor, scratch: Tensor) -> Tensor:
    """For each point and group a product of matrices."""
    out = _view(scratch, *a.shape[:3], b.shape[3])
    torch.bmm(a.flatten(0, 1), b.flatten(0, 1), out=out.flatten(0, 1))
    return out


def _add_products(a: Tensor, b: Tensor, total: Tensor, *, first: bool) -> None:
    """total += those, or = for the first."""
    total.flatten(0, 1).baddbmm_(a.flatten(0, 1), b.flatten(0, 1), beta=0 if first else 1)


def _view(scratch: Tensor, *shape: int) -> Tensor:
    return scratch[: prod(shape)].view(shape)


def _transformed(x: Tensor, padding: Pair, plan: Plan, like: Tensor) -> Callable[[Chunk], Tensor]:
    """How to get V (36, G, T, C) of a chunk.  A single one is transformed once, for all filters."""
    scratch_d, scratch_v = plan.tile_scratch(like)
    b2 = _both_ways(B_T, like)

    def transform(chunk: Chunk) -> Tensor:
        images, band = chunk
        part = x[images].unflatten(1, (plan.groups, -1))
        if not has_jit(x):
            tiles = _tiles(part, padding, REACH, band, plan.columns, (scratch_v, scratch_d))
            return _transform(b2, tiles, scratch_v)
        start, rows = TILE * band.start - padding[0], band.stop - band.start
        pixels, first = _rows(part, start, TILE * rows + REACH - TILE, scratch_d)
        v = _view(scratch_v, 36, plan.groups, len(part) * rows * plan.columns, plan.channels)
        where = first - start, padding[1], rows, plan.columns
        parallel_for(loops.input_transform, v.shape[2], v.numel(), pixels, *where, array(v))
        return v

    if len(plan.chunks) > 1:
        return transform
    v = [transform(chunk) for chunk in plan.chunks]
    return lambda chunk: v[0]


def _convolve(x: Tensor, w: Tensor, g2: Tensor, padding: Pair, size: Sequence[int]) -> Tensor:
    """x (N, G*C, H, W), filters w (G, K, C, 3, 3) -> y (N, G*K, *size)."""
    groups, filters = w.shape[:2]
    height, width = size
    y = channels_last(x, len(x), groups * filters, height, width)
    a2 = _both_ways(A_T, g2)

    def convolve(share: slice) -> None:
        pixels = y[share].permute(0, 2, 3, 1)
        outputs = pixels.unflatten(3, (groups, -1))  # N, H, W, G, K
        plan = Plan.of(x[share], tiling((height, width)), groups, filters)
        v = _transformed(x[share], padding, plan, g2)

        def multiply(some: slice) -> None:
            scratch_u, scratch_m, scratch_y = plan.filter_scratch(g2)
            u = _filters(g2, w[:, some], scratch_u)
            for chunk in plan.chunks:
                images, band = chunk
                m = _products(v(chunk), u, scratch_m)  # 36, G, T, K
                if has_jit(x):
                    rows = TILE * band.start, band.stop - band.start
                    where = array(pixels[images]), *rows, plan.columns, groups, some.start
                    parallel_for(loops.output_transform, m.shape[2], m.numel(), array(m), *where)
                    continue
                tiles = _transform(a2, m, scratch_y)  # 16, G, T, K
                out = outputs[images, TILE * band.start : TILE * band.stop, :, :, some]
                tiles = tiles.view(TILE, TILE, groups, len(out), -1, plan.columns, u.shape[3])
                _place(tiles, out)

        parallel_map(multiply, plan.filters, x)

    parallel_map(convolve, partition(x, tiling((height, width)), w.numel()), x)
    return y


def _place(tiles: Tensor, out: Tensor) -> None:
    """Tiles (4, 4, G, n, rows, columns, K) side by side into outputs (n, H, W, G, K)."""
    picture = tiles.permute(3, 4, 0, 5, 1, 2, 6)  # n, rows, 4, columns, 4, G, K
    height, width = out.shape[1:3]
    if height % TILE == width % TILE == 0:
        out.unflatten(1, (-1, TILE)).unflatten(3, (-1, TILE)).copy_(picture)
    else:  # the last tiles hang over the border
        out.copy_(picture.flatten(3, 4).flatten(1, 2)[:, :height, :width])


@operator(
    convolves=True,
    fake=lambda x, weight, geometry: channels_last(
        x, x.shape[0], weight.shape[0], *Geometry.unflatten(geometry).output_size(x.shape[2:])
    ),
)
def winograd(x: Tensor, weight: Tensor, geometry: Sequence[int]) -> Tensor:
    """x (N, C_in, H, W), weight (C_out, C_in/G, 3, 3) -> y (N, C_out, H_out, W_out)."""
    shape = Geometry.unflatten(geometry)
    w = weight.unflatten(0, (shape.groups, -1))
    size = shape.output_size(x.shape[2:])
    return _convolve(x, w, _both_ways(G, upcast(x[:0])), shape.padding, size)


@operator(
    convolves=True,
    fake=lambda weight, g, geometry, image_size: channels_last(
        g, g.shape[0], weight.shape[1] * geometry[-1], *image_size
    ),
)
def winograd_input(
    weight: Tensor, g: Tensor, geometry: Sequence[int], image_size: Sequence[int]
) -> Tensor:
    """weight (C_out, C_in/G, 3, 3), g (N, C_out, H_out, W_out) -> x (N, C_in, *image_size).

    The same convolution, of g, with every filter turned round and inputs for outputs.
    """
    shape = Geometry.unflatten(geometry)
    ph, pw = shape.padding
    w = weight.unflatten(0, (shape.groups, -1)).transpose(1, 2)
    turned = _both_ways(G, upcast(g[:0])).flip(1)  # G2 for the taps in reverse order
    return _convolve(g, w, turned, (2 - ph, 2 - pw), image_size)


@operator(fake=lambda *inputs: plan_conv2d_weight(*inputs)[1], convolves=True)
def winograd_weight(x: Tensor, g: Tensor, geometry: Sequence[int]) -> Tensor:
    """x (N, C_in, H, W), g (N, C_out, H_out, W_out) -> weight (C_out, C_in/G, 3, 3).

    U[e]^T += (A2^T g)[e]^T @ V[e] over the chunks of tiles, then W = G2^T U.
    """
    shape = Geometry.unflatten(geometry)
    groups = shape.groups
    channels, filters = x.shape[1] // groups, g.shape[1] // groups
    like = upcast(x[:0])
    a2, g2 = _both_ways(A_T, like), _both_ways(G, like)

    def correlate(share: slice) -> Tensor:
        w = like.new_empty(groups, filters, channels, 3, 3)
        plan = Plan.of(x[share], tiling(g.shape[2:]), groups, filters)
        v = _transformed(x[share], shape.padding, plan, like)

        def gradients(chunk: Chunk, some: slice, scratch_m: Tensor, scratch_y: Tensor) -> Tensor:
            """M = A2^T g."""
            images, band = chunk
            part = g[share][images].unflatten(1, (groups, -1))[:, :, some]
            if not has_jit(g):
                tiles = _tiles(part, (0, 0), TILE, band, plan.columns, (scratch_m, scratch_y))
                return _transform(a2.T, tiles, scratch_m)
            start, rows = TILE * band.start, band.stop - band.start
            pixels, first = _rows(part, start, TILE * rows, scratch_y)
            m = _view(scratch_m, 36, groups, len(part) * rows * plan.columns, part.shape[2])
            where = pixels, start - first, rows, plan.columns
            parallel_for(loops.output_transform_adjoint, m.shape[2], m.numel(), *where, array(m))
            return m

        def add(some: slice) -> None:
            scratch_u, scratch_m, scratch_y = plan.filter_scratch(like)
            u = _view(scratch_u, 36, groups, some.stop - some.start, channels)
            for number, chunk in enumerate(plan.chunks):
                m = gradients(chunk, some, scratch_m, scratch_y)
                _add_products(m.mT, v(chunk), u, first=number == 0)
            taps = torch.mm(g2.T, u.flatten(1), out=like.new_empty(9, u[0].numel()))
            w[:, some] = taps.view(3, 3, *u.shape[1:]).permute(2, 3, 4, 0, 1)  # 3, 3, G, K, C

        parallel_map(add, plan.filters, x)
        return w if plan.chunks else w.zero_()  # no image, no gradient

    parts = partition(x, tiling(g.shape[2:]), 9 * groups * filters * channels)
    return reduce(torch.add, parallel_map(correlate, parts, x)).flatten(0, 1).to(x.dtype)
