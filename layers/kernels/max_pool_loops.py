"""Max-pooling and its gradient, window by window (for a CPU; see jit.py).

The innermost loop runs along memory: over the channels of images (N, H, W, C), `_channels_last`, or
over the pixels of maps (N*C, H, W), `_contiguous`.  The latter computes the windows that start at
every pixel of a row and subsamples the result: comparing 16 values at a time is faster than
comparing only those that are needed.

`window` is a Geometry as a tuple.  Every loop does its part, first to last, of the rows
of windows, of the images or of the maps.
"""

from __future__ import annotations

import numpy as np

from .jit import jit
from .loops import clear, copy, taps_inside

LANES = 64  # values that are compared side by side, or a multiple of it
SCRATCH_NUMEL = 1 << 10  # of them for each row of taps, in a loop's own memory


@jit
def max_channels_last(x, window, y, switches, first, last):
    """y and switches of some rows of windows; every tap updates the maximum so far."""
    (kh, kw), (sh, sw), (ph, pw), (down, right), _ = window
    height, width = x.shape[1:3]
    for o in range(first, last):
        n, p = o // y.shape[1], o % y.shape[1]
        row = p * sh - ph
        above, below = taps_inside(row, down, kh, height)
        for q in range(y.shape[2]):
            maximum, switch, column = y[n, p, q], switches[n, p, q], q * sw - pw
            left, end = taps_inside(column, right, kw, width)
            maximum[:], switch[:] = -np.inf, above * kw + left
            for i in range(above, below):
                pixels = x[n, row + down * i]
                for j in range(left, end):
                    update_max(pixels[column + right * j], i * kw + j, maximum, switch)


@jit
def update_max(values, tap, maximum, switch):
    """Where a value is larger than the maximum, or NaN, it becomes the maximum."""
    tap = switch.dtype.type(tap)
    for c in range(len(maximum)):
        wins = (values[c] > maximum[c]) | (values[c] != values[c])
        maximum[c] = values[c] if wins else maximum[c]
        switch[c] = tap if wins else switch[c]


@jit
def max_contiguous(x, window, y, switches, first, last):
    """The same for some maps, of which several rows of windows lie one after the other."""
    (kh, kw), (sh, stride), (ph, padding), (down, right), _ = window
    _, height, width = x.shape
    outputs, across = y.shape[1:]
    pitch = (across - 1) * stride + 1 + right * (kw - 1)  # pixels that a row of windows sees
    rows = max(1, min(outputs, SCRATCH_NUMEL // pitch))
    length = -(-rows * pitch // LANES) * LANES
    pixels = np.full((kh, length + right * (kw - 1)), -np.inf, x.dtype)  # by row of taps
    maximum, switch = np.empty(length, x.dtype), np.zeros(length, switches.dtype)
    for n in range(first, last):
        for top in range(0, outputs, rows):
            count = min(rows, outputs - top)
            for o in range(count):
                row, run = (top + o) * sh - ph, slice(o * pitch, (o + 1) * pitch)
                there = taps_inside(row, down, kh, height)
                for i in range(kh):
                    line = pixels[i, run]
                    if there[0] <= i < there[1]:
                        copy(x[n, row + down * i], 0, line, padding, min(width, pitch - padding))
                    else:
                        line[:] = -np.inf
                switch[run] = there[0] * kw
                for c in range(padding):  # windows that hang over the border
                    switch[o * pitch + c] += taps_inside(c - padding, right, kw, width)[0]
            maximum[:] = -np.inf
            for i in range(kh):
                for j in range(kw):
                    update_max(pixels[i, right * j :], i * kw + j, maximum, switch)
            for o in range(count):
                subsample(maximum[o * pitch :], stride, y[n, top + o])
                subsample(switch[o * pitch :], stride, switches[n, top + o])


@jit
def subsample(values, stride, out):
    """out[q] = values[stride q]."""
    stride = np.uint64(stride)  # see loops.py
    for q in range(np.uint64(len(out))):
        out[q] = values[q * stride]


@jit
def taps(window):
    """Of every tap the row and the column, from the corner of its window on."""
    (kh, kw), _, _, (down, right), _ = window
    rows, columns = np.empty(kh * kw, np.int64), np.empty(kh * kw, np.int64)
    for tap in range(kh * kw):
        rows[tap], columns[tap] = tap // kw * down, tap % kw * right
    return rows, columns


@jit
def gather(x, window, switches, y, first, last):
    """y = the pixel that the switch names, 0 if it is none; of images (A, H, W, B)."""
    _, (sh, sw), (ph, pw), _, _ = window
    _, height, width, lanes = x.shape
    rows, columns = taps(window)
    for n in range(first, last):
        for p in range(y.shape[1]):
            for q in range(y.shape[2]):
                for c in range(lanes):
                    tap = switches[n, p, q, c]
                    row, column = p * sh - ph + rows[tap], q * sw - pw + columns[tap]
                    if 0 <= row < height and 0 <= column < width:
                        y[n, p, q, c] = x[n, row, column, c]
                    else:
                        y[n, p, q, c] = 0


@jit
def scatter_contiguous(y, window, switches, x, first, last):
    """The pixel that the switch names += y."""
    _, (sh, sw), (ph, pw), _, _ = window
    _, height, width = x.shape
    rows, columns = taps(window)
    for n in range(first, last):
        cleared = 0
        for p in range(y.shape[1]):
            cleared = clear(x[n], cleared, p * sh - ph + rows[-1] + 1)
            for q in range(y.shape[2]):
                tap = switches[n, p, q]
                row, column = p * sh - ph + rows[tap], q * sw - pw + columns[tap]
                if 0 <= row < height and 0 <= column < width:
                    x[n, row, column] += y[n, p, q]
        clear(x[n], cleared, height)


@jit
def scatter_channels_last(y, window, switches, x, first, last):
    """The same, tap by tap for all channels of a window."""
    (kh, kw), (sh, sw), (ph, pw), (down, right), _ = window
    _, height, width, lanes = x.shape
    nothing = y.dtype.type(0)
    for n in range(first, last):
        cleared = 0
        for p in range(y.shape[1]):
            row = p * sh - ph
            top, bottom = taps_inside(row, down, kh, height)
            cleared = clear(x[n], cleared, row + down * (kh - 1) + 1)
            for q in range(y.shape[2]):
                column, value, switch = q * sw - pw, y[n, p, q], switches[n, p, q]
                left, end = taps_inside(column, right, kw, width)
                for i in range(top, bottom):
                    for j in range(left, end):
                        pixel = x[n, row + down * i, column + right * j]
                        tap = switch.dtype.type(i * kw + j)
                        for c in range(lanes):
                            pixel[c] += value[c] if switch[c] == tap else nothing
        clear(x[n], cleared, height)
