"""Local response normalisation, a block of pixels at a time (for a CPU; see jit.py).

All channels of a block are copied into a scratch where the next channel is `step` values further:
1 for channels last, and the number of pixels in a block for channels first.  A sum over
neighbouring channels is then a sum of shifts of the scratch.  Letters as in local_response_norm.py.
"""

from __future__ import annotations

import numpy as np

from .jit import jit
from .loops import add, copy

PIXELS = 128  # in a block of an image that is channels first


@jit
def local_response_norm(x, size, a, beta, k, y, first, last):
    """y of the pixels (M, C) first to last, or of those blocks of PIXELS of images (N, C, P)."""
    channels, step = x.shape[1], 1 if x.ndim == 2 else PIXELS
    v, s, power = scratch(x, step), scratch(x, step), scratch(x, step)
    padded = np.zeros((channels + size - 1) * step, x.dtype)
    for block in range(first, last):
        load(x, block, step, v)
        scale_and_power(v, size, step, a, beta, k, padded, s, power)
        for i in range(len(v)):
            v[i] *= power[i]
        store(v, block, step, y)


@jit
def local_response_norm_backward(dy, x, size, a, beta, k, dx, first, last):
    channels, step = x.shape[1], 1 if x.ndim == 2 else PIXELS
    v, s, power = scratch(x, step), scratch(x, step), scratch(x, step)
    direct = scratch(x, step)
    padded = np.zeros((channels + size - 1) * step, x.dtype)
    slope = x.dtype.type(2 * a * beta)
    for block in range(first, last):
        load(x, block, step, v)
        scale_and_power(v, size, step, a, beta, k, padded, s, power)
        load(dy, block, step, direct)
        front = (size - 1) // 2 * step  # the window, transposed
        padded[:front] = 0
        padded[front + len(v) :] = 0
        for i in range(len(v)):
            direct[i] *= power[i]
            power[i] = direct[i] * v[i] / s[i]
        copy(power, 0, padded, front, len(v))
        add_shifts(padded, size, step, 0, s)
        for i in range(len(v)):
            direct[i] -= slope * v[i] * s[i]
        store(direct, block, step, dx)


@jit
def scratch(x, step):
    return np.zeros(x.shape[1] * step, x.dtype)


@jit
def scale_and_power(v, size, step, a, beta, k, padded, s, power):
    """s, and s^-beta; AlexNet's 0.75 by two square roots, several times faster than a power."""
    front, weight = size // 2 * step, v.dtype.type(a)
    padded[:front] = 0
    padded[front + len(v) :] = 0
    for i in range(len(v)):
        power[i] = weight * v[i] * v[i]
    copy(power, 0, padded, front, len(v))
    add_shifts(padded, size, step, k, s)
    if beta == 0.75:
        one = v.dtype.type(1)
        for i in range(len(v)):
            root = one / np.sqrt(s[i])
            power[i] = root * np.sqrt(root)
    else:
        for i in range(len(v)):
            power[i] = s[i] ** v.dtype.type(-beta)


@jit
def add_shifts(padded, size, step, k, s):
    """s = k + the sum of `size` shifts of `padded`, by a channel each."""
    for i in range(len(s)):
        s[i] = k
    for t in range(size):
        add(padded, t * step, s, 0, len(s))


@jit
def load(x, block, step, v):
    """The values of a block of pixels, channel after channel."""
    if x.ndim == 2:
        copy(x[block], 0, v, 0, len(v))
    else:
        blocks = -(-x.shape[2] // step)
        n, first = block // blocks, block % blocks * step
        for c in range(x.shape[1]):
            copy(x[n, c], first, v, c * step, min(step, x.shape[2] - first))


@jit
def store(v, block, step, y):
    """The inverse of `load`."""
    if y.ndim == 2:
        copy(v, 0, y[block], 0, len(v))
    else:
        blocks = -(-y.shape[2] // step)
        n, first = block // blocks, block % blocks * step
        for c in range(y.shape[1]):
            copy(v, c * step, y[n, c], first, min(step, y.shape[2] - first))
