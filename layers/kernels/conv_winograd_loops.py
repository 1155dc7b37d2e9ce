"""Winograd's transforms, a block of channels of one tile at a time (for a CPU; see jit.py).

As sums with common parts, B^T d B takes 240 additions and multiplications for each channel, where
the product with the 36 x 36 matrix takes 2592.  Pixels are read where the image has them, zeros
where it has none, and outputs written where they belong: no tile is ever stored as such.

A scratch holds values [i, j, lane] contiguously.  A step applies a matrix along the first dimension
and transposes the two, so that the same step, repeated, applies it along the other:

    t[j, e, lane] = sum over i of  matrix[e, i] d[i, j, lane]

Letters as in conv_winograd.py; images lie channels last, (N, H, W, G*C).  Of the tiles, `rows` x
`columns` in each image, the three loops that come first do their part, first to last.
"""

from __future__ import annotations

import numpy as np

from .jit import jit
from .loops import copy

LANES = 64  # channels at a time
SIZE = 36 * LANES


@jit
def input_transform(x, above, left, rows, columns, v, first, last):
    """V (36, G, T, C) = B^T d B of every tile.

    The first one's 6x6 pixels begin `above` and `left` of the image.
    """
    _, groups, _, channels = v.shape
    d, t = np.empty(SIZE, v.dtype), np.empty(SIZE, v.dtype)
    for tile in range(first, last):
        n, row, column = tile // (rows * columns), tile // columns % rows * 4, tile % columns * 4
        for g in range(groups):
            for c in range(0, channels, LANES):
                lanes = min(LANES, channels - c)
                read(x[n], row - above, column - left, 6, g * channels + c, lanes, d)
                apply_b_t(d, t)
                apply_b_t(t, d)
                for e in range(36):
                    copy(d, e * LANES, v[e, g, tile], c, lanes)


@jit
def output_transform(m, y, above, rows, columns, groups, skipped, first, last):
    """y = A^T m A of every tile, M (36, G, T, K), laid side by side.

    Args:
        y: images (N, H, W, channels); `above` rows are others' to fill, and in each of the groups
            of channels `skipped` ones before the K.
    """
    filters = m.shape[3]
    t, d = np.empty(SIZE, m.dtype), np.empty(SIZE, m.dtype)
    for tile in range(first, last):
        n, row, column = tile // (rows * columns), tile // columns % rows * 4, tile % columns * 4
        for g in range(groups):
            for k in range(0, filters, LANES):
                lanes = min(LANES, filters - k)
                channel = g * (y.shape[3] // groups) + skipped + k
                for e in range(36):
                    copy(m[e, g, tile], k, d, e * LANES, lanes)
                apply_a_t(d, 6, t)
                apply_a_t(t, 4, d)
                write(d, y[n], above + row, column, channel, lanes)


@jit
def output_transform_adjoint(y, above, rows, columns, m, first, last):
    """The transpose of `output_transform`: M (36, G, T, K) = A y A^T of every tile.

    Of the images y, (N, H, W, G*K), the first `above` rows are not asked for.
    """
    _, groups, _, filters = m.shape
    t, d = np.empty(SIZE, m.dtype), np.empty(SIZE, m.dtype)
    for tile in range(first, last):
        n, row, column = tile // (rows * columns), tile // columns % rows * 4, tile % columns * 4
        for g in range(groups):
            for k in range(0, filters, LANES):
                lanes = min(LANES, filters - k)
                read(y[n], above + row, column, 4, g * filters + k, lanes, d)
                apply_a(d, 4, t)
                apply_a(t, 6, d)
                for e in range(36):
                    copy(d, e * LANES, m[e, g, tile], k, lanes)


@jit
def apply_b_t(d, t):
    """The matrix is B^T."""
    two, four, five = d.dtype.type(2), d.dtype.type(4), d.dtype.type(5)
    for j in range(6):
        for c in range(LANES):
            i, e = j * LANES + c, 6 * j * LANES + c
            d0, d1, d2 = d[i], d[i + 6 * LANES], d[i + 12 * LANES]
            d3, d4, d5 = d[i + 18 * LANES], d[i + 24 * LANES], d[i + 30 * LANES]
            even, odd = d4 - four * d2, d3 - four * d1
            further, nearer = two * (d3 - d1), d4 - d2
            t[e] = four * d0 - five * d2 + d4
            t[e + LANES] = even + odd
            t[e + 2 * LANES] = even - odd
            t[e + 3 * LANES] = nearer + further
            t[e + 4 * LANES] = nearer - further
            t[e + 5 * LANES] = four * d1 - five * d3 + d5


@jit
def apply_a_t(d, columns, t):
    """The matrix is A^T, of 4 rows; d has so many columns."""
    two, four, eight = d.dtype.type(2), d.dtype.type(4), d.dtype.type(8)
    step = columns * LANES
    for j in range(columns):
        for c in range(LANES):
            i, e = j * LANES + c, 4 * j * LANES + c
            near, far = d[i + step] + d[i + 2 * step], d[i + 3 * step] + d[i + 4 * step]
            slope, steep = d[i + step] - d[i + 2 * step], d[i + 3 * step] - d[i + 4 * step]
            t[e] = d[i] + near + far
            t[e + LANES] = slope + two * steep
            t[e + 2 * LANES] = near + four * far
            t[e + 3 * LANES] = slope + eight * steep + d[i + 5 * step]


@jit
def apply_a(d, columns, t):
    """The matrix is A, of 4 columns."""
    two, four = d.dtype.type(2), d.dtype.type(4)
    step = columns * LANES
    for j in range(columns):
        for c in range(LANES):
            i, e = j * LANES + c, 6 * j * LANES + c
            d0, d1, d2, d3 = d[i], d[i + step], d[i + 2 * step], d[i + 3 * step]
            further, nearer = two * (d1 + four * d3), d0 + four * d2
            t[e] = d0
            t[e + LANES] = d0 + d2 + (d1 + d3)
            t[e + 2 * LANES] = d0 + d2 - (d1 + d3)
            t[e + 3 * LANES] = nearer + further
            t[e + 4 * LANES] = nearer - further
            t[e + 5 * LANES] = d3


@jit
def read(image, row, column, side, channel, lanes, d):
    """d [i, j, lane] = side x side pixels of the image from (row, column) on, zero outside it."""
    height, width, _ = image.shape
    for i in range(side):
        for j in range(side):
            at = (side * i + j) * LANES
            if 0 <= row + i < height and 0 <= column + j < width:
                copy(image[row + i, column + j], channel, d, at, lanes)
            else:
                d[at : at + LANES] = 0


@jit
def write(d, image, row, column, channel, lanes):
    """4 x 4 pixels to where they belong in the image, as far as they lie in it."""
    height, width, _ = image.shape
    for i in range(min(4, height - row)):
        for j in range(min(4, width - column)):
            copy(d, (4 * i + j) * LANES, image[row + i, column + j], channel, lanes)
