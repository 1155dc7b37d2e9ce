"""Loops over single numbers, compiled to machine code by numba, for a CPU.

A chain of torch's operations goes through memory once for each; a loop does all of them while it
has a number at hand.  It also says plainly what is computed.  A GPU has no use for it, nor is it
needed: where numba is missing, the same operators take torch's operations instead.

A loop is compiled when it is first called with numbers of a type, which takes about a second, and
kept in `__pycache__` for the next time.  A change of its file has it compiled again; so what a loop
calls belongs in the same file.  Who changes `inside`, the options of `loop`, or parallel.py,
deletes `__pycache__`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .openmp import has_team, threads

try:
    import numba

    from .parallel import in_parallel
except ImportError:  # every operator has another way
    numba = None  # type: ignore[assignment]

LEAST = 1 << 19  # numbers, from which a second thread is worth its call
TYPES = torch.float32, torch.float64

Loop = Callable[..., Any]


def loop(function: Loop) -> Loop:
    """The function compiled; sums may be taken in any order, NaN and infinity remain what they are.

    It runs without Python's lock, so that threads can compute side by side.
    """
    if numba is None:
        return function
    options: Any = dict(nogil=True, error_model="numpy", fastmath={"contract", "nsz", "reassoc"})
    try:
        return numba.njit(function, cache=True, **options)
    except RuntimeError:  # nowhere to keep it
        return numba.njit(function, **options)


@loop
def inside(start, step, taps, length):
    """Which of the pixels start + step * tap lie in an image of some length: first tap, stop."""
    first = -(start // step) if start < 0 else 0
    return first, min(taps, (length - 1 - start) // step + 1)


def has_loops(x: Tensor) -> bool:
    """Whether numbers like these can be looped over."""
    return numba is not None and x.device.type == "cpu" and x.dtype in TYPES


def array(volume: Tensor) -> Any:
    """The same memory, as numba takes it."""
    return volume.detach().numpy()


def lies_plainly(x: Tensor) -> bool:
    """Whether loops can go over (N, C, ...) along memory: contiguous, or channels last."""
    return has_loops(x) and (x.is_contiguous() or x.movedim(1, -1).is_contiguous())


def lay(like: Tensor, *volumes: Tensor) -> tuple[bool, list[Any]]:
    """Whether `like`, which lies plainly, has channels last; and all volumes in its order.

    As pixels (M, C) if so, else as maps (N, C, P); copied only if they lie otherwise.
    """
    arrays, channels = [array(volume) for volume in volumes], like.shape[1]
    if like.stride(1) == 1:
        order = 0, *range(2, like.dim()), 1
        arrays = [a.transpose(order).reshape(a.size // max(1, channels), channels) for a in arrays]
        return True, [np.ascontiguousarray(a) for a in arrays]
    shape = len(like), channels, prod(like.shape[2:])
    return False, [np.ascontiguousarray(a.reshape(shape)) for a in arrays]


def divide(function: Loop, total: int, numbers: int, *arguments: Any) -> None:
    """function(*arguments, first, last) for the parts of range(total), each by a thread.

    Args:
        function: a loop, whose parts write nothing in common.
        numbers: that are read in all; a few are not worth a second thread.
    """
    compiled = hasattr(function, "py_func")  # and not without numba, or for a debugger
    if compiled and has_team() and threads() > 1 < total and numbers >= LEAST:
        _in_parallel(function)(arguments, total, threads())  # some parts may be empty
    else:
        function(*arguments, 0, total)


@cache
def _in_parallel(function: Loop) -> Loop:
    return loop(in_parallel(function))
