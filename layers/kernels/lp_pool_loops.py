"""L2-norm pooling and its gradient, by loops for a CPU (jit.py).

A window is summed down its columns first, and then along its row.  The forward pass takes a few
rows of windows at a time and sums along the row from every pixel, also where no window starts; the
sums of windows are then picked out.  A vector instruction adds 16 adjacent values, so this is
faster than summing only where a window starts.

Images are rows (A, H, W*B) with `lanes` values B per pixel: channels last A = N, B = C, channels
first A = N*C, B = 1.  `window` is a Geometry as a tuple, without padding or dilation.
"""

from __future__ import annotations

import numpy as np

from .jit import jit
from .loops import add, clear, copy

SCRATCH_NUMEL = 1 << 11  # values in a scratch volume: it stays in the L1 cache


@jit
def l2_pool(x, window, lanes, y, first, last):
    """y = the L2 norm of every window; of the rows of windows first to last, of all images."""
    (kh, kw), (sh, sw) = window[:2]
    height, width = x.shape[1:]
    outputs, across = y.shape[1:]
    pitch = width + (kw - 1) * lanes  # the last are no pixels, and zero
    rows = max(1, min(last - first, SCRATCH_NUMEL // pitch))
    down, along = np.zeros((rows, pitch), x.dtype), np.empty((rows, pitch), x.dtype)
    for top in range(first, last, rows):
        count = min(rows, last - top)
        for o in range(count):
            n, start = (top + o) // outputs, (top + o) % outputs * sh
            for c in range(width):
                down[o, c] = x[n, start, c] * x[n, start, c]
            for row in range(start + 1, min(start + kh, height)):
                for c in range(width):
                    down[o, c] += x[n, row, c] * x[n, row, c]
        add_along(down.reshape(-1), kw, lanes, along.reshape(-1))
        part = y.reshape(-1)[top * across : (top + count) * across]
        subsample_rows(along, sw, lanes, part.reshape(count, across))
        for c in range(len(part)):
            part[c] = np.sqrt(part[c])


@jit
def add_along(x, taps, step, y):
    """y[c] = sum over the taps of  x[c + tap * step]."""
    copy(x, 0, y, 0, len(x))
    for tap in range(1, taps):
        add(x, tap * step, y, 0, len(x) - tap * step)


@jit
def subsample_rows(x, stride, lanes, y):
    """Every stride-th pixel of each row."""
    for o in range(y.shape[0]):
        if lanes == 1:
            for q in range(y.shape[1]):
                y[o, q] = x[o, q * stride]
        else:
            for q in range(y.shape[1] // lanes):
                to, start = y[o, q * lanes : (q + 1) * lanes], x[o, q * stride * lanes :]
                for c in range(lanes):
                    to[c] = start[c]


@jit
def l2_pool_backward(dy, x, y, window, lanes, dx, first, last):
    """dx = x * sum over the windows that see the pixel of  dy / y;  of the images first to last."""
    (kh, kw), (sh, sw) = window[:2]
    height, width = x.shape[1:]
    share, sums = np.empty(dy.shape[2], dy.dtype), np.empty(width, dy.dtype)
    for n in range(first, last):
        cleared = 0
        for p in range(dy.shape[1]):
            for q in range(dy.shape[2]):
                share[q] = dy[n, p, q] / y[n, p, q] if y[n, p, q] != 0 else 0
            sums[:] = 0
            add_along_adjoint(share, kw, sw, lanes, sums)
            cleared = clear(dx[n], cleared, p * sh + kh)
            for row in range(p * sh, min(p * sh + kh, height)):
                for c in range(width):
                    dx[n, row, c] += sums[c] * x[n, row, c]
        clear(dx[n], cleared, height)


@jit
def add_along_adjoint(share, taps, stride, lanes, sums):
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
