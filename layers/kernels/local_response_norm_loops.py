"""Local response normalisation of some pixels after the other (for a CPU; see loops.py).

All channels of a pixel are taken together, in a scratch where the next channel is `step` numbers
on: one channels last, and channels first as many as pixels are taken at a time.  A sum over
neighbouring channels is then a sum of shifts of the scratch.  Letters as in response_norm.py.
"""

from __future__ import annotations

import numpy as np

from .jit import loop

PIXELS = 128  # taken at a time, of images that lie channels first


@loop
def normalise(x, size, a, beta, k, y, first, last):
    """y of some pixels (M, C), or of some blocks of PIXELS of images (N, C, P)."""
    channels, step = x.shape[1], 1 if x.ndim == 2 else PIXELS
    v, s, power = scratch(x, step), scratch(x, step), scratch(x, step)
    near = np.zeros((channels + size - 1) * step, x.dtype)
    for lot in range(first, last):
        collect(x, lot, step, v)
        damping(v, size, step, a, beta, k, near, s, power)
        for i in range(len(v)):
            v[i] *= power[i]
        deal(v, lot, step, y)


@loop
def gradient(dy, x, size, a, beta, k, dx, first, last):
    channels, step = x.shape[1], 1 if x.ndim == 2 else PIXELS
    v, s, power = scratch(x, step), scratch(x, step), scratch(x, step)
    direct = scratch(x, step)
    near = np.zeros((channels + size - 1) * step, x.dtype)
    slope = x.dtype.type(2 * a * beta)
    for lot in range(first, last):
        collect(x, lot, step, v)
        damping(v, size, step, a, beta, k, near, s, power)
        collect(dy, lot, step, direct)
        front = (size - 1) // 2 * step  # the window, transposed
        near[:front] = 0
        near[front + len(v) :] = 0
        for i in range(len(v)):
            direct[i] *= power[i]
            power[i] = direct[i] * v[i] / s[i]
        copy(power, near, front)
        add_shifts(near, size, step, 0, s)
        for i in range(len(v)):
            direct[i] -= slope * v[i] * s[i]
        deal(direct, lot, step, dx)


@loop
def scratch(x, step):
    return np.zeros(x.shape[1] * step, x.dtype)


@loop
def damping(v, size, step, a, beta, k, near, s, power):
    """s, and s^-beta; AlexNet's 0.75 by two square roots, several times faster than a power."""
    front, weight = size // 2 * step, v.dtype.type(a)
    near[:front] = 0
    near[front + len(v) :] = 0
    for i in range(len(v)):
        power[i] = weight * v[i] * v[i]
    copy(power, near, front)
    add_shifts(near, size, step, k, s)
    if beta == 0.75:
        one = v.dtype.type(1)
        for i in range(len(v)):
            root = one / np.sqrt(s[i])
            power[i] = root * np.sqrt(root)
    else:
        for i in range(len(v)):
            power[i] = s[i] ** v.dtype.type(-beta)


@loop
def add_shifts(near, size, step, k, s):
    """s = k + the sum of `size` shifts of `near`, by a channel each."""
    for i in range(len(s)):
        s[i] = k
    for t in range(size):
        add(near[t * step :], s)


@loop
def add(values, out):
    for i in range(len(out)):
        out[i] += values[i]


@loop
def copy(values, out, at):
    out = out[at:]
    for i in range(len(values)):
        out[i] = values[i]


@loop
def collect(x, lot, step, v):
    """The numbers of a lot of pixels, channel after channel."""
    if x.ndim == 2:
        copy(x[lot], v, 0)
    else:
        blocks = -(-x.shape[2] // step)
        n, first = lot // blocks, lot % blocks * step
        for c in range(x.shape[1]):
            copy(x[n, c, first : first + step], v, c * step)


@loop
def deal(v, lot, step, y):
    """Back to where `collect` took them."""
    if y.ndim == 2:
        copy(v, y[lot], 0)
    else:
        blocks = -(-y.shape[2] // step)
        n, first = lot // blocks, lot % blocks * step
        for c in range(y.shape[1]):
            pixels = y[n, c, first : first + step]
            copy(v[c * step : c * step + len(pixels)], pixels, 0)
