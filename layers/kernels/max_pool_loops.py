"""Max-pooling and its gradient, window by window (for a CPU; see loops.py).

The innermost loop runs over numbers that lie side by side: the channels of the images (N, H, W, C),
`_last`; or, channels first, the pixels of the maps (N*C, H, W), `_first`.  There windows are taken
to start from every pixel of a row, and those that are wanted are picked out after that: comparing
16 numbers at a time is faster than to compare no more than is wanted.

Letters as in pooling_kernels.py, `window` the nine numbers of a geometry.  Every loop does its
part, first to last, of the rows of windows, of the images or of the maps.
"""

from __future__ import annotations

import numpy as np

from .jit import inside, loop

LANES = 64  # numbers that are compared side by side, or a multiple of it
ROOM = 1 << 10  # of them for each row of taps, in a loop's own memory


@loop
def max_last(x, window, y, switches, first, last):
    """y and switches of some rows of windows; every tap is a challenge to the best so far."""
    kh, kw, sh, sw, ph, pw, down, right, _ = window
    height, width = x.shape[1:3]
    for o in range(first, last):
        n, p = o // y.shape[1], o % y.shape[1]
        row = p * sh - ph
        above, below = inside(row, down, kh, height)
        for q in range(y.shape[2]):
            best, which, column = y[n, p, q], switches[n, p, q], q * sw - pw
            left, end = inside(column, right, kw, width)
            best[:], which[:] = -np.inf, above * kw + left
            for i in range(above, below):
                pixels = x[n, row + down * i]
                for j in range(left, end):
                    challenge(pixels[column + right * j], i * kw + j, best, which)


@loop
def challenge(values, number, best, which):
    """Where a value is larger than the best, or NaN, it wins."""
    number = which.dtype.type(number)
    for c in range(len(best)):
        wins = (values[c] > best[c]) | (values[c] != values[c])
        best[c] = values[c] if wins else best[c]
        which[c] = number if wins else which[c]


@loop
def max_first(x, window, y, switches, first, last):
    """The same for some maps, of which several rows of windows lie one after the other."""
    kh, kw, sh, stride, ph, padding, down, right, _ = window
    _, height, width = x.shape
    outputs, across = y.shape[1:]
    pitch = (across - 1) * stride + 1 + right * (kw - 1)  # pixels that a row of windows sees
    rows = max(1, min(outputs, ROOM // pitch))
    length = -(-rows * pitch // LANES) * LANES
    pixels = np.full((kh, length + right * (kw - 1)), -np.inf, x.dtype)  # by row of taps
    best, which = np.empty(length, x.dtype), np.zeros(length, switches.dtype)
    for n in range(first, last):
        for top in range(0, outputs, rows):
            count = min(rows, outputs - top)
            for o in range(count):
                row, run = (top + o) * sh - ph, slice(o * pitch, (o + 1) * pitch)
                there = inside(row, down, kh, height)
                for i in range(kh):
                    line = pixels[i, run]
                    if there[0] <= i < there[1]:
                        copy(x[n, row + down * i], line[padding:])
                    else:
                        line[:] = -np.inf
                which[run] = there[0] * kw
                for c in range(padding):  # windows that hang over the border
                    which[o * pitch + c] += inside(c - padding, right, kw, width)[0]
            best[:] = -np.inf
            for i in range(kh):
                for j in range(kw):
                    challenge(pixels[i, right * j :], i * kw + j, best, which)
            for o in range(count):
                pick(best[o * pitch :], stride, y[n, top + o])
                pick(which[o * pitch :], stride, switches[n, top + o])


@loop
def copy(values, out):
    for c in range(min(len(values), len(out))):
        out[c] = values[c]


@loop
def pick(values, stride, out):
    # unsigned, so that nobody must ask whether an index counts from behind
    stride = np.uint64(stride)
    for q in range(np.uint64(len(out))):
        out[q] = values[q * stride]


@loop
def taps(window):
    """Of every tap the row and the column, from the corner of its window on."""
    kh, kw, _, _, _, _, down, right, _ = window
    rows, columns = np.empty(kh * kw, np.int64), np.empty(kh * kw, np.int64)
    for number in range(kh * kw):
        rows[number], columns[number] = number // kw * down, number % kw * right
    return rows, columns


@loop
def take(x, window, switches, y, first, last):
    """y = the pixel that the switch names, 0 if it is none; of images (A, H, W, B)."""
    _, _, sh, sw, ph, pw, _, _, _ = window
    _, height, width, lanes = x.shape
    rows, columns = taps(window)
    for n in range(first, last):
        for p in range(y.shape[1]):
            for q in range(y.shape[2]):
                for c in range(lanes):
                    number = switches[n, p, q, c]
                    row, column = p * sh - ph + rows[number], q * sw - pw + columns[number]
                    if 0 <= row < height and 0 <= column < width:
                        y[n, p, q, c] = x[n, row, column, c]
                    else:
                        y[n, p, q, c] = 0


@loop
def put_first(y, window, switches, x, first, last):
    """The pixel that the switch names += y."""
    _, _, sh, sw, ph, pw, _, _, _ = window
    _, height, width = x.shape
    rows, columns = taps(window)
    for n in range(first, last):
        clean = 0
        for p in range(y.shape[1]):
            clean = clear(x[n], clean, p * sh - ph + rows[-1] + 1)
            for q in range(y.shape[2]):
                number = switches[n, p, q]
                row, column = p * sh - ph + rows[number], q * sw - pw + columns[number]
                if 0 <= row < height and 0 <= column < width:
                    x[n, row, column] += y[n, p, q]
        clear(x[n], clean, height)


@loop
def put_last(y, window, switches, x, first, last):
    """The same, tap by tap for all channels of a window."""
    kh, kw, sh, sw, ph, pw, down, right, _ = window
    _, height, width, lanes = x.shape
    nothing = y.dtype.type(0)
    for n in range(first, last):
        clean = 0
        for p in range(y.shape[1]):
            row = p * sh - ph
            top, bottom = inside(row, down, kh, height)
            clean = clear(x[n], clean, row + down * (kh - 1) + 1)
            for q in range(y.shape[2]):
                column, value, which = q * sw - pw, y[n, p, q], switches[n, p, q]
                left, end = inside(column, right, kw, width)
                for i in range(top, bottom):
                    for j in range(left, end):
                        pixel = x[n, row + down * i, column + right * j]
                        number = which.dtype.type(i * kw + j)
                        for c in range(lanes):
                            pixel[c] += value[c] if which[c] == number else nothing
        clear(x[n], clean, height)


@loop
def clear(x, clean, stop):
    """Zeros in the rows of x that are not clean yet, up to `stop`: how many are clean then."""
    for row in range(clean, min(stop, len(x))):
        x[row] = 0
    return max(clean, min(stop, len(x)))
