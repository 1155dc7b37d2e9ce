"""Max-pooling and its gradient, window by window (for a CPU; see loops.py).

The innermost loop runs over channels that lie side by side: `_last` of the images (N, H, W, C).
Images of channels first, `_first` of the maps (N*C, H, W), are read some maps at a time: for a row
of windows they are set side by side.

Letters as in pooling_kernels.py, `window` the nine numbers of a geometry.  Every loop does its
part, first to last, of the rows of windows, of the images or maps, or of the blocks of maps.
"""

from __future__ import annotations

import numpy as np

from .loops import inside, loop

LANES = 64  # maps taken together
ROOM = 1 << 17  # numbers of theirs


@loop
def max_row(x, row, there, window, y, switches, lanes):
    """y and switches (W_out, C) of a row of windows, the first of whose taps are on `row`.

    Args:
        x: rows of an image (rows, W, C).
        there: rows of taps in the image, from the first to before the second.
    """
    _, kw, _, stride, _, padding, down, right, _ = window
    for q in range(len(y)):
        best, which, column = y[q, :lanes], switches[q, :lanes], q * stride - padding
        left, end = inside(column, right, kw, x.shape[1])
        best[:], which[:] = -np.inf, there[0] * kw + left
        for i in range(there[0], there[1]):
            pixels = x[row + down * i]
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
def max_last(x, window, y, switches, first, last):
    height, outputs = x.shape[1], y.shape[1]
    for o in range(first, last):
        n, p = o // outputs, o % outputs
        row = p * window[2] - window[4]
        there = inside(row, window[6], window[0], height)
        max_row(x[n], row, there, window, y[n, p], switches[n, p], x.shape[3])


@loop
def max_first(x, window, y, switches, first, last):
    kh, _, stride, _, padding, _, down, _, _ = window
    maps, height, width = x.shape
    band, reach = band_of(y.shape[1], stride, down * (kh - 1) + 1, width)
    pixels = np.empty((reach, width, LANES), x.dtype)
    best = np.empty((band, y.shape[2], LANES), y.dtype)
    which = np.empty((band, y.shape[2], LANES), switches.dtype)
    for begin in range(first * LANES, min(maps, last * LANES), LANES):
        lanes = min(LANES, maps - begin)
        for top in range(0, y.shape[1], band):
            above = top * stride - padding  # the row of the image on which the first of pixels lies
            set_side_by_side(x, begin, above, lanes, pixels)
            for p in range(top, min(top + band, y.shape[1])):
                row = p * stride - padding
                there = inside(row, down, kh, height)
                max_row(pixels, row - above, there, window, best[p - top], which[p - top], lanes)
            deal_out(best, begin, top, lanes, y)
            deal_out(which, begin, top, lanes, switches)


@loop
def band_of(outputs, stride, height, width):
    """How many rows of windows, each so high, are taken together; how many pixels high that is."""
    band = max(1, min(outputs, (ROOM // (width * LANES) - height) // stride + 1))
    return band, (band - 1) * stride + height


@loop
def set_side_by_side(x, begin, above, lanes, pixels):
    """Rows of some maps (M, H, W) as pixels (rows, W, LANES), as far as the maps have them."""
    for c in range(lanes):
        for row in range(max(0, above), min(above + len(pixels), x.shape[1])):
            values, out = x[begin + c, row], pixels[row - above]
            for q in range(len(values)):
                out[q, c] = values[q]


@loop
def deal_out(values, begin, top, lanes, y):
    """The values (rows, W_out, LANES) back into maps (M, H_out, W_out)."""
    for c in range(lanes):
        for p in range(top, min(top + len(values), y.shape[1])):
            out, row = y[begin + c, p], values[p - top]
            for q in range(len(out)):
                out[q] = row[q, c]


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
