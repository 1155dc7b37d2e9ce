"""L2-norm pooling and its gradient, row by row (for a CPU; see loops.py).

Sums go down the columns first, of the rows that a row of windows sees, and then along that.
Images are rows (A, H, W*B) with `lanes` numbers B to a pixel: channels last A = N, B = C, channels
first A = N*C, B = 1.  `window` are the nine numbers of a geometry, without padding or dilation.
"""

from __future__ import annotations

import numpy as np

from .loops import loop


@loop
def norms(x, window, lanes, y, first, last):
    """y = the L2 norm of every window; of the rows of windows first to last."""
    kh, kw, sh, sw = window[:4]
    outputs = y.shape[1]
    squares = np.empty(x.shape[2], x.dtype)
    for o in range(first, last):
        n, p = o // outputs, o % outputs
        squares[:] = 0
        for row in range(p * sh, min(p * sh + kh, x.shape[1])):
            add_squares(x[n, row], squares)
        gather(squares, kw, sw, lanes, y[n, p])


@loop
def add_squares(x, squares):
    for c in range(len(x)):
        squares[c] += x[c] * x[c]


@loop
def gather(squares, taps, stride, lanes, y):
    """The root of the sum over every window of a row."""
    windows, width = len(y) // lanes, len(squares) // lanes
    y[:] = 0
    if lanes == 1:
        for j in range(taps):
            for q in range(min(windows, (width - 1 - j) // stride + 1)):
                y[q] += squares[q * stride + j]
    else:
        for q in range(windows):
            for j in range(q * stride, min(q * stride + taps, width)):
                total, part = y[q * lanes : (q + 1) * lanes], squares[j * lanes : (j + 1) * lanes]
                for c in range(lanes):
                    total[c] += part[c]
    for c in range(len(y)):
        y[c] = np.sqrt(y[c])


@loop
def norm_gradient(dy, x, y, window, lanes, dx, first, last):
    """dx = x * sum over the windows that see the pixel of  dy / y;  of the images first to last."""
    kh, kw, sh, sw = window[:4]
    height, width = x.shape[1:]
    share, sums = np.empty(dy.shape[2], dy.dtype), np.empty(width, dy.dtype)
    for n in range(first, last):
        clean = 0
        for p in range(dy.shape[1]):
            for q in range(dy.shape[2]):
                share[q] = dy[n, p, q] / y[n, p, q] if y[n, p, q] != 0 else 0
            sums[:] = 0
            spread(share, kw, sw, lanes, sums)
            clean = clear(dx[n], clean, p * sh + kh)
            for row in range(p * sh, min(p * sh + kh, height)):
                for c in range(width):
                    dx[n, row, c] += sums[c] * x[n, row, c]
        clear(dx[n], clean, height)


@loop
def spread(share, taps, stride, lanes, sums):
    """To every pixel of a row the shares of the windows that see it."""
    windows, width = len(share) // lanes, len(sums) // lanes
    if lanes == 1:
        for j in range(taps):
            for q in range(min(windows, (width - 1 - j) // stride + 1)):
                sums[q * stride + j] += share[q]
        return
    for q in range(windows):
        for j in range(q * stride, min(q * stride + taps, width)):
            part, total = share[q * lanes : (q + 1) * lanes], sums[j * lanes : (j + 1) * lanes]
            for c in range(lanes):
                total[c] += part[c]


@loop
def clear(x, clean, stop):
    """Zeros in the rows of x that are not clean yet, up to `stop`: how many are clean then."""
    for row in range(clean, min(stop, len(x))):
        x[row] = 0
    return max(clean, min(stop, len(x)))
