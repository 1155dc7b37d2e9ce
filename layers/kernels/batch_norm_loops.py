"""Batch normalisation's loops (for a CPU; see jit.py), one form for each memory layout.

Maps (N, C, P) are processed channel by channel: first the channel's sums, then an affine function
of its values while they are still in the cache.  Pixels (M, C), channels last, have all channels
adjacent, so these are summed together, block by block, and a second pass applies the function.

Letters as in batch_norm.py.  Everything that is not a volume is (C).
"""

from __future__ import annotations

import numpy as np

from .jit import jit

BLOCK = 128  # pixels summed at a time: long sums in float32 lose digits
RUN = 1024  # values of a map, likewise
MAX_SHIFT = 16  # (m - k)^2 / v up to which v loses at most one digit


@jit
def affine_coefficients(total, squares, k, count, gamma, beta, eps):
    """m, v, slope and shift of  y = slope x + shift,  and whether v is ill-conditioned.

    From a channel's sums around k:  v = E[(x - k)^2] - E[x - k]^2, which cancels if k is far
    from m.
    """
    change = total / count
    m, v = k + change, max(squares / count - change * change, 0)
    slope = gamma / np.sqrt(v + eps)
    return m, v, slope, beta - m * slope, change * change > MAX_SHIFT * v


@jit
def grad_coefficients(total, shared, count, gamma, m, v, eps):
    """dgamma, and the coefficients of  dx = slope dy + x_coefficient x + shift,  from the sums."""
    root = 1 / np.sqrt(v + eps)
    dgamma = shared * root
    slope = gamma * root
    x_coefficient = -slope * root * dgamma / count
    return dgamma, slope, x_coefficient, -slope * total / count - x_coefficient * m


@jit
def batch_norm_maps(x, gamma, beta, eps, y, mean, variance, first, last):
    """y, m and v of the channels first to last."""
    number, count = x.dtype.type, len(x) * x.shape[2]
    for c in range(first, last):
        some = x[0, c, :BLOCK]
        k = number(some.sum() / len(some))
        sums = sums_of_channel(x, x, c, k, k)
        m, v, slope, shift, ill_conditioned = affine_coefficients(
            sums[0], sums[1], k, count, gamma[c], beta[c], eps
        )
        if ill_conditioned:
            k = number(m)
            sums = sums_of_channel(x, x, c, k, k)
            m, v, slope, shift, ill_conditioned = affine_coefficients(
                sums[0], sums[1], k, count, gamma[c], beta[c], eps
            )
        mean[c], variance[c] = m, v
        slope, shift = number(slope), number(shift)
        for n in range(len(x)):
            for p in range(x.shape[2]):
                y[n, c, p] = slope * x[n, c, p] + shift


@jit
def batch_norm_backward_maps(dy, x, gamma, mean, variance, eps, dx, dgamma, dbeta, first, last):
    """dx, dgamma and dbeta of the channels first to last."""
    number, count = x.dtype.type, len(x) * x.shape[2]
    for c in range(first, last):
        m, v = mean[c], variance[c]
        total, shared = sums_of_channel(dy, x, c, number(0), m)
        dgamma[c], slope, x_coefficient, shift = grad_coefficients(
            total, shared, count, gamma[c], m, v, eps
        )
        dbeta[c] = total
        slope, x_coefficient, shift = number(slope), number(x_coefficient), number(shift)
        for n in range(len(x)):
            for p in range(x.shape[2]):
                dx[n, c, p] = slope * dy[n, c, p] + x_coefficient * x[n, c, p] + shift


@jit
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


@jit
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


@jit
def add_up(blocks):
    """Sum over the blocks (blocks, C), in float64."""
    total = np.zeros(blocks.shape[1])
    for block in blocks:
        for c in range(len(total)):
            total[c] += block[c]
    return total


@jit
def affine_coefficients_of_channels(total, squares, k, count, gamma, beta, eps, m, v, slope, shift):
    """`affine_coefficients` for all channels; whether one of them was ill-conditioned."""
    any_ill_conditioned = False
    for c in range(len(k)):
        m[c], v[c], slope[c], shift[c], ill_conditioned = affine_coefficients(
            total[c], squares[c], k[c], count, gamma[c], beta[c], eps
        )
        any_ill_conditioned |= ill_conditioned
    return any_ill_conditioned


@jit
def grad_coefficients_of_channels(
    total, shared, count, gamma, m, v, eps, dgamma, dbeta, slope, x_coefficient, shift
):
    """`grad_coefficients` for all channels."""
    for c in range(len(m)):
        dbeta[c] = total[c]
        dgamma[c], slope[c], x_coefficient[c], shift[c] = grad_coefficients(
            total[c], shared[c], count, gamma[c], m[c], v[c], eps
        )


@jit
def apply_affine(x, slope, shift, y, first, last):
    """y = slope x + shift,  of the pixels first to last."""
    for p in range(first, last):
        for c in range(len(slope)):
            y[p, c] = slope[c] * x[p, c] + shift[c]


@jit
def apply_grad(dy, x, slope, x_coefficient, shift, dx, first, last):
    """dx = slope dy + x_coefficient x + shift,  of the pixels first to last."""
    for p in range(first, last):
        for c in range(len(slope)):
            dx[p, c] = slope[c] * dy[p, c] + x_coefficient[c] * x[p, c] + shift[c]
