"""col2im, window by window (for a CPU; see jit.py).  Letters as in im2col.py."""

from __future__ import annotations

from .jit import jit
from .loops import add, taps_inside


@jit
def add_windows(columns, x, window, channels, top, first, last):
    """x[n, S p + D i - P, S q + D j - P, g C + c] += columns[g, n, p, q, i, j, c].

    Args:
        columns: (G, n, R, W_out, K_h, K_w * C), of the rows of windows from `top` on.
        x: (n, H, W * G * C).
        window: the nine numbers of a geometry.
        channels: C.
        first, last: of the images.
    """
    kh, kw, sh, sw, ph, pw, down, right, groups = window
    _, _, rows, outputs, _, _ = columns.shape
    height, width = x.shape[1], x.shape[2] // (groups * channels)
    for n in range(first, last):
        for g in range(groups):
            for p in range(rows):
                row = (top + p) * sh - ph
                above, below = taps_inside(row, down, kh, height)
                for q in range(outputs):
                    column = q * sw - pw
                    left, end = taps_inside(column, right, kw, width)
                    for i in range(above, below):
                        values, pixels = columns[g, n, p, q, i], x[n, row + down * i]
                        if groups == right == 1:  # the taps of a row are one run of numbers
                            at, count = (column + left) * channels, (end - left) * channels
                            add(values, left * channels, pixels, at, count)
                            continue
                        for j in range(left, end):
                            at = ((column + right * j) * groups + g) * channels
                            add(values, j * channels, pixels, at, channels)
