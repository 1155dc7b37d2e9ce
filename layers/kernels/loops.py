"""Loops that several kernels share (for a CPU; see jit.py)."""

from __future__ import annotations

import numpy as np

from .jit import jit

# Indices are unsigned so that the compiler need not ask of each whether it counts from the end.


@jit
def copy(values, first, out, at, count):
    """out[at + c] = values[first + c]  for c below count."""
    first, at = np.uint64(first), np.uint64(at)
    for c in range(np.uint64(max(0, count))):
        out[at + c] = values[first + c]


@jit
def add(values, first, out, at, count):
    """out[at + c] += values[first + c]  for c below count."""
    first, at = np.uint64(first), np.uint64(at)
    for c in range(np.uint64(max(0, count))):
        out[at + c] += values[first + c]


@jit
def taps_inside(start, dilation, taps, length):
    """The taps whose pixels  start + dilation * tap  lie in an image: the first, and the stop."""
    first = -(start // dilation) if start < 0 else 0
    return first, min(taps, (length - 1 - start) // dilation + 1)


@jit
def clear(x, cleared, stop):
    """Zero the rows of x up to `stop` that are not cleared yet; how many are then."""
    for row in range(cleared, min(stop, len(x))):
        x[row] = 0
    return max(cleared, min(stop, len(x)))
