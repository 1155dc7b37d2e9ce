"""Sums over windows, and their adjoint, row by row: for average and L2-norm pooling on a CPU.

A sum goes down the columns first, of the rows that a row of windows sees, and then along that.
Images are rows (A, H, W*B) with `lanes` numbers B to a pixel: channels last A = N, B = C, channels
first A = N*C, B = 1.  `window` are the nine numbers of a geometry.  Letters as in window_sums.py;
see loops.py.
"""

from __future__ import annotations

import numpy as np

from .loops import inside, loop


@loop
def add(x, window, lanes, norm, y, first, last):
    """y = the sum over every window of x, or if `norm` the root of that over x squared.

    Of the rows of windows first to last.
    """
    kh, _, stride, _, padding, _, down, _, _ = window
    outputs, sums = y.shape[1], np.empty(x.shape[2], x.dtype)
    for o in range(first, last):
        n, p = o // outputs, o % outputs
        row = p * stride - padding
        above, below = inside(row, down, kh, x.shape[1])
        sums[:] = 0
        for i in range(above, below):
            if norm:
                add_products(x[n, row + down * i], x[n, row + down * i], sums)
            else:
                add_numbers(x[n, row + down * i], sums)
        gather(sums, window, lanes, y[n, p])
        if norm:
            take_roots(y[n, p])


@loop
def spread(dy, norms, x, window, lanes, dx, first, last):
    """dx = the sum over the windows that see a pixel of dy.

    Or, if `norms` and x are given, x times that of dy / norms, 0 where the norm is.  Of the images
    first to last.
    """
    kh, _, stride, _, padding, _, down, _, _ = window
    height, width = dx.shape[1:]
    share, sums = np.empty(dy.shape[2], dy.dtype), np.empty(width, dy.dtype)
    for n in range(first, last):
        dx[n] = 0
        for p in range(dy.shape[1]):
            share[:] = dy[n, p]
            if norms is not None:
                divide_by(norms[n, p], share)
            sums[:] = 0
            scatter(share, window, lanes, sums)
            row = p * stride - padding
            above, below = inside(row, down, kh, height)
            for i in range(above, below):
                if x is None:
                    add_numbers(sums, dx[n, row + down * i])
                else:
                    add_products(sums, x[n, row + down * i], dx[n, row + down * i])


@loop
def gather(sums, window, lanes, y):
    """y = the sum over every window of a row."""
    _, kw, _, stride, _, padding, _, right, _ = window
    windows, width = len(y) // lanes, len(sums) // lanes
    y[:] = 0
    for j in range(kw):
        start = right * j - padding  # the pixel that the first window's tap j lies on
        first, stop = inside(start, stride, windows, width)
        if lanes == 1:
            for q in range(first, stop):
                y[q] += sums[start + stride * q]
            continue
        for q in range(first, stop):
            pixel = (start + stride * q) * lanes
            add_numbers(sums[pixel : pixel + lanes], y[q * lanes : (q + 1) * lanes])


@loop
def scatter(share, window, lanes, sums):
    """To every pixel of a row the shares of the windows that see it."""
    _, kw, _, stride, _, padding, _, right, _ = window
    windows, width = len(share) // lanes, len(sums) // lanes
    for j in range(kw):
        start = right * j - padding
        first, stop = inside(start, stride, windows, width)
        if lanes == 1:
            for q in range(first, stop):
                sums[start + stride * q] += share[q]
            continue
        for q in range(first, stop):
            pixel = (start + stride * q) * lanes
            add_numbers(share[q * lanes : (q + 1) * lanes], sums[pixel : pixel + lanes])


@loop
def add_numbers(values, out):
    for i in range(len(out)):
        out[i] += values[i]


@loop
def add_products(a, b, out):
    for i in range(len(out)):
        out[i] += a[i] * b[i]


@loop
def take_roots(y):
    for i in range(len(y)):
        y[i] = np.sqrt(y[i])


@loop
def divide_by(norms, share):
    for i in range(len(share)):
        share[i] = share[i] / norms[i] if norms[i] != 0 else 0
