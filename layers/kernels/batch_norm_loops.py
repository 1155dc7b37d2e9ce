"""Batch normalisation's loops (for a CPU; see loops.py), in two forms, along memory.

Maps (N, C, P) are taken channel after channel: its sums, and then a line (backward, a plane)
through its numbers, while they are still in the cache.  Pixels (M, C), channels last, have their
channels side by side: sums of all of them, block by block, and then a second pass.

Letters as in batch_norm.py.  Everything that is not a volume is (C).
"""

from __future__ import annotations

import numpy as np

from .jit import loop

BLOCK = 128  # pixels added up at a time: long sums in float32 lose digits
RUN = 1024  # numbers of a map, likewise
FAR = 16  # (m - k)^2 / v up to which v has all digits but one


@loop
def line(total, squares, k, count, gamma, beta, eps):
    """m, v, slope and shift of  y = slope x + shift,  from a channel's sums around k; far.

    v = E[(x - k)^2] - E[x - k]^2, which loses digits if k is far from m.
    """
    change = total / count
    m, v = k + change, max(squares / count - change * change, 0)
    slope = gamma / np.sqrt(v + eps)
    return m, v, slope, beta - m * slope, change * change > FAR * v


@loop
def plane(total, shared, count, gamma, m, v, eps):
    """dgamma, slope, tilt and shift of  dx = slope dy + tilt x + shift,  from a channel's sums."""
    root = 1 / np.sqrt(v + eps)
    dgamma = shared * root
    slope = gamma * root
    tilt = -slope * root * dgamma / count
    return dgamma, slope, tilt, -slope * total / count - tilt * m


@loop
def normalise_maps(x, gamma, beta, eps, y, mean, variance, first, last):
    """y, m and v of the channels first to last."""
    number, count = x.dtype.type, len(x) * x.shape[2]
    for c in range(first, last):
        some = x[0, c, :BLOCK]
        k = number(some.sum() / len(some))
        sums = sums_of_channel(x, x, c, k, k)
        m, v, slope, shift, far = line(sums[0], sums[1], k, count, gamma[c], beta[c], eps)
        if far:
            k = number(m)
            sums = sums_of_channel(x, x, c, k, k)
            m, v, slope, shift, far = line(sums[0], sums[1], k, count, gamma[c], beta[c], eps)
        mean[c], variance[c] = m, v
        slope, shift = number(slope), number(shift)
        for n in range(len(x)):
            for p in range(x.shape[2]):
                y[n, c, p] = slope * x[n, c, p] + shift


@loop
def normalise_input_maps(dy, x, gamma, mean, variance, eps, dx, dgamma, dbeta, first, last):
    """dx, dgamma and dbeta of the channels first to last."""
    number, count = x.dtype.type, len(x) * x.shape[2]
    for c in range(first, last):
        m, v = mean[c], variance[c]
        total, shared = sums_of_channel(dy, x, c, number(0), m)
        dgamma[c], slope, tilt, shift = plane(total, shared, count, gamma[c], m, v, eps)
        dbeta[c] = total
        slope, tilt, shift = number(slope), number(tilt), number(shift)
        for n in range(len(x)):
            for p in range(x.shape[2]):
                dx[n, c, p] = slope * dy[n, c, p] + tilt * x[n, c, p] + shift


@loop
def sums_of_channel(a, b, c, k, m):
    """sum (a - k),  sum (a - k) (b - m):  of each run of a map, and then of all in float64."""
    total = product = 0.0
    for n in range(len(a)):
        for start in range(0, a.shape[2], RUN):
            left, right = a[n, c, start : start + RUN], b[n, c, start : start + RUN]
            s = q = a.dtype.type(0)
            for p in range(len(left)):
                d = left[p] - k
                s += d
                q += d * (right[p] - m)
            total += s
            product += q
    return total, product


@loop
def sums_of_pixels(a, b, k, m, total, product, first, last):
    """The same sums of all channels, of the blocks of pixels first to last:  total[block, c]."""
    for block in range(first, last):
        s, q = total[block], product[block]
        s[:], q[:] = 0, 0
        begin, end = block * BLOCK, min(len(a), (block + 1) * BLOCK)
        for p in range(begin, end - 1, 2):  # two at a time: s and q are fetched half as often
            for c in range(len(k)):
                d, e = a[p, c] - k[c], a[p + 1, c] - k[c]
                s[c] += d + e
                q[c] += d * (b[p, c] - m[c]) + e * (b[p + 1, c] - m[c])
        if (end - begin) % 2:
            for c in range(len(k)):
                d = a[end - 1, c] - k[c]
                s[c] += d
                q[c] += d * (b[end - 1, c] - m[c])


@loop
def add_up(blocks):
    """Sum over the blocks (blocks, C), in float64."""
    total = np.zeros(blocks.shape[1])
    for block in blocks:
        for c in range(len(total)):
            total[c] += block[c]
    return total


@loop
def lines(total, squares, k, count, gamma, beta, eps, m, v, slope, shift):
    """`line` for all channels; whether one of them was far."""
    any_far = False
    for c in range(len(k)):
        m[c], v[c], slope[c], shift[c], far = line(
            total[c], squares[c], k[c], count, gamma[c], beta[c], eps
        )
        any_far |= far
    return any_far


@loop
def planes(total, shared, count, gamma, m, v, eps, dgamma, dbeta, slope, tilt, shift):
    """`plane` for all channels."""
    for c in range(len(m)):
        dbeta[c] = total[c]
        dgamma[c], slope[c], tilt[c], shift[c] = plane(
            total[c], shared[c], count, gamma[c], m[c], v[c], eps
        )


@loop
def line_of_pixels(x, slope, shift, y, first, last):
    """y = slope x + shift,  of the pixels first to last."""
    for p in range(first, last):
        for c in range(len(slope)):
            y[p, c] = slope[c] * x[p, c] + shift[c]


@loop
def plane_of_pixels(dy, x, slope, tilt, shift, dx, first, last):
    """dx = slope dy + tilt x + shift,  of the pixels first to last."""
    for p in range(first, last):
        for c in range(len(slope)):
            dx[p, c] = slope[c] * dy[p, c] + tilt[c] * x[p, c] + shift[c]
