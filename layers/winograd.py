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

Its derivatives are such chains again: by the image, the same convolution with the filters turned
round; by the filters, the transposed chain.  The price is accuracy: about 1e-5 relative in float32
where im2col has 1e-6, because the points +-2 bring factors of up to 64 together.

Letters: G groups (and the matrix G), C = C_in/G and K = C_out/G channels of a group, T tiles.
Source: Lavin and Gray 2015, section 4.1, F(4x4, 3x3), with the points 0, +-1, +-2 and infinity.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .conv_kernels import plan_conv2d_weight
from .geometry import Geometry, Pair
from .operator import operator, wide

TILE, REACH = 4, 6  # pixels along a tile, and along what it sees
CPU_TILES, CUDA_TILES = 128, 2048  # transformed at a time: the rows of each product

A_T = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
B_T = (
    (4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1),
)  # fmt: skip
G = (
    (1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1),
)  # fmt: skip


def fits(geometry: Geometry) -> bool:
    """Whether the chain computes this convolution: 3x3, stride and dilation 1, padding up to 2."""
    same = geometry._replace(padding=(0, 0), groups=1)
    return same == Geometry((3, 3)) and max(geometry.padding) <= 2


def tiling(output_size: Sequence[int]) -> Pair:
    """(rows, columns) of tiles that cover the outputs."""
    height, width = output_size
    return -(-height // TILE), -(-width // TILE)


def _both_ways(matrix: Sequence[Sequence[float]], like: Tensor) -> Tensor:
    """The matrix applied along rows and along columns, as one matrix."""
    one = torch.tensor(matrix, dtype=like.dtype, device=like.device)
    return torch.kron(one, one)


def _filters(weight: Tensor, groups: int) -> Tensor:
    """U (36, G, C, K) of filters (G*K, C, 3, 3)."""
    w = wide(weight).unflatten(0, (groups, -1)).permute(3, 4, 0, 2, 1)  # 3, 3, G, C, K
    return (_both_ways(G, w) @ w.flatten(0, 1).flatten(1)).view(36, *w.shape[2:])


def _chunks(x: Tensor, tiles: Pair) -> Iterator[tuple[slice, slice]]:
    """(which images, which rows of tiles) at a time: several images, or some rows of one."""
    (rows, columns), total = tiles, x.shape[0]
    budget = CUDA_TILES if x.is_cuda else CPU_TILES
    n = min(total, budget // max(1, rows * columns))
    step = rows if n else max(1, budget // columns)
    for first in range(0, total, max(1, n)):
        for top in range(0, rows, step):
            yield slice(first, min(first + max(1, n), total)), slice(top, min(top + step, rows))


def _padded(volume: Tensor, before: Pair, size: Pair) -> Tensor:
    """(n, C, H, W) as (n, *size, C) with `before` zeros above and to the left of it."""
    (top, left), (n, channels, height, width) = before, volume.shape
    padded = volume.new_zeros(n, *size, channels, dtype=wide(volume[:0]).dtype)
    padded[:, top : top + height, left : left + width] = volume.permute(0, 2, 3, 1)
    return padded


def _gather(padded: Tensor, side: int, groups: int, rows: slice, columns: int) -> Tensor:
    """The side x side pixels from each tile's corner on: (n, H, W, G*C) -> (side^2, G, T, C)."""
    n, channels, count = len(padded), padded.shape[3] // groups, rows.stop - rows.start
    by_image, by_row, by_pixel, _ = padded.stride()
    seen = padded[:, TILE * rows.start :].as_strided(
        (side, side, groups, n, count, columns, channels),
        (by_row, by_pixel, channels, by_image, TILE * by_row, TILE * by_pixel, 1),
    )
    return seen.reshape(side * side, groups, n * count * columns, channels)


def _transform(matrix: Tensor, tiles: Tensor) -> Tensor:
    """The matrix times every tile; (points, G, T, channels) before and after."""
    return (matrix @ tiles.flatten(1)).view(len(matrix), *tiles.shape[1:])


def _products(a: Tensor, b: Tensor) -> Tensor:
    """For each point and group a product of matrices."""
    return torch.bmm(a.flatten(0, 1), b.flatten(0, 1)).unflatten(0, a.shape[:2])


def _empty(x: Tensor, channels: int, size: Sequence[int]) -> Tensor:
    """An uninitialised volume (N, C, *size), channels last."""
    return torch.empty(
        (x.shape[0], channels, *size),
        dtype=x.dtype, device=x.device, memory_format=torch.channels_last,
    )  # fmt: skip


def _convolve(x: Tensor, weight: Tensor, padding: Pair, groups: int) -> Tensor:
    """x (N, G*C, H, W), weight (G*K, C, 3, 3) -> y (N, G*K, H_out, W_out)."""
    height, width = (size + 2 * p - 2 for size, p in zip(x.shape[2:], padding, strict=True))
    rows, columns = tiling((height, width))
    y = _empty(x, len(weight), (height, width))
    u = _filters(weight, groups)
    b2, a2 = _both_ways(B_T, u), _both_ways(A_T, u)
    for images, band in _chunks(x, (rows, columns)):
        if band.start == 0:
            padded = _padded(x[images], padding, (TILE * rows + 2, TILE * columns + 2))
        v = _transform(b2, _gather(padded, REACH, groups, band, columns))
        tiles = _transform(a2, _products(v, u))  # 16, G, T, K
        tiles = tiles.view(TILE, TILE, groups, len(padded), -1, columns, tiles.shape[3])
        picture = tiles.permute(3, 4, 0, 5, 1, 2, 6)  # n, rows, 4, columns, 4, G, K
        out = y.permute(0, 2, 3, 1)[images, TILE * band.start : TILE * band.stop]
        if out.shape[1] % TILE == width % TILE == 0:
            out.view(picture.shape).copy_(picture)
        else:  # the last tiles hang over the border
            out.copy_(picture.flatten(5).flatten(3, 4).flatten(1, 2)[:, : out.shape[1], :width])
    return y


@operator(
    fake=lambda x, weight, geometry: _empty(
        x, len(weight), Geometry.unflatten(geometry).output_size(x.shape[2:])
    )
)
def winograd(x: Tensor, weight: Tensor, geometry: Sequence[int]) -> Tensor:
    """x (N, C_in, H, W), weight (C_out, C_in/G, 3, 3) -> y (N, C_out, H_out, W_out)."""
    shape = Geometry.unflatten(geometry)
    return _convolve(x, weight, shape.padding, shape.groups)


@operator(
    fake=lambda weight, g, geometry, image_size: _empty(
        g, weight.shape[1] * geometry[-1], image_size
    )
)
def winograd_input(
    weight: Tensor, g: Tensor, geometry: Sequence[int], image_size: Sequence[int]
) -> Tensor:
    """weight (C_out, C_in/G, 3, 3), g (N, C_out, H_out, W_out) -> x (N, C_in, *image_size).

    The same convolution, of g, with every filter turned round and inputs for outputs.
    """
    shape = Geometry.unflatten(geometry)
    (ph, pw), groups = shape.padding, shape.groups
    turned = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1).flip(2, 3)
    return _convolve(g, turned, (2 - ph, 2 - pw), groups)


@operator(fake=lambda *inputs: plan_conv2d_weight(*inputs)[1])
def winograd_weight(x: Tensor, g: Tensor, geometry: Sequence[int]) -> Tensor:
    """x (N, C_in, H, W), g (N, C_out, H_out, W_out) -> weight (C_out, C_in/G, 3, 3).

    U[e] += V[e]^T @ (A2^T g)[e] over the chunks of tiles, then W = G2^T U.
    """
    shape = Geometry.unflatten(geometry)
    groups, (rows, columns) = shape.groups, tiling(g.shape[2:])
    u = wide(x[:0]).new_zeros(36, groups, x.shape[1] // groups, g.shape[1] // groups)
    b2, a2 = _both_ways(B_T, u), _both_ways(A_T, u)
    for images, band in _chunks(x, (rows, columns)):
        if band.start == 0:
            padded = _padded(x[images], shape.padding, (TILE * rows + 2, TILE * columns + 2))
            slopes = _padded(g[images], (0, 0), (TILE * rows, TILE * columns))
        v = _transform(b2, _gather(padded, REACH, groups, band, columns))
        m = _transform(a2.T, _gather(slopes, TILE, groups, band, columns))
        u.flatten(0, 1).baddbmm_(v.flatten(0, 1).mT, m.flatten(0, 1))
    w = (_both_ways(G, u).T @ u.flatten(1)).view(3, 3, *u.shape[1:])  # 3, 3, G, C, K
    return w.permute(2, 4, 3, 0, 1).flatten(0, 1).to(x.dtype, memory_format=torch.contiguous_format)
