"""Loops over single numbers, compiled to machine code by numba, for a CPU.

A chain of torch's operations goes through memory once for each; a loop does all of them while it
has a number at hand.  It also says plainly what is computed.  A GPU has no use for it, nor is it
needed: where numba is missing, the same operators take torch's operations instead.

A loop is compiled when it is first called with numbers of a type, which takes about a second, and
kept in `__pycache__` for the next time.  A change of its file has it compiled again; so what a loop
calls belongs in the same file.  Who changes `taps_inside`, the options of `jit`, or parallel.py,
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

from ..ops.dtypes import HALF_PRECISION, upcast
from .openmp import num_threads, openmp_available

try:
    import numba

    from .parallel import in_parallel
except ImportError:  # every operator has another way
    numba = None  # type: ignore[assignment]

MIN_PARALLEL_NUMEL = 1 << 19  # from which a second thread is worth waking up
TYPES = torch.float32, torch.float64

Compiled = Callable[..., Any]


def jit(function: Compiled) -> Compiled:
    """The function compiled: sums in any order, but NaN and infinity as they are.

    It releases the GIL, so that threads can run it at the same time.
    """
    if numba is None:
        return function
    options: Any = dict(nogil=True, error_model="numpy", fastmath={"contract", "nsz", "reassoc"})
    try:
        return numba.njit(function, cache=True, **options)
    except RuntimeError:  # nowhere to keep it
        return numba.njit(function, **options)


@jit
def taps_inside(start, step, taps, length):
    """Which of the pixels start + step * tap lie in an image of some length: first tap, stop."""
    first = -(start // step) if start < 0 else 0
    return first, min(taps, (length - 1 - start) // step + 1)


def has_jit(x: Tensor) -> bool:
    """Whether numbers like these can be looped over."""
    return numba is not None and x.device.type == "cpu" and x.dtype in TYPES


def why_not_jit(x: Tensor) -> str | None:
    """None, or why numbers like these cannot be looped over."""
    if numba is None:
        return "numba is not installed"
    if x.device.type != "cpu":
        return "compiled loops are for a CPU"
    return (
        None if x.dtype in TYPES else f"loops are compiled for float32 and float64, not {x.dtype}"
    )


def array(volume: Tensor) -> Any:
    """The same memory, as numba takes it."""
    return volume.detach().numpy()


def is_dense(x: Tensor) -> bool:
    """Whether loops can run over x (N, C, ...) along memory: contiguous, or channels last."""
    return x.is_contiguous() or x.movedim(1, -1).is_contiguous()


def as_maps_or_pixels(like: Tensor, *volumes: Tensor) -> tuple[bool, list[Any]]:
    """Whether `like`, which is dense, is channels last; and all volumes in that memory format.

    As pixels (M, C) if so, otherwise as maps (N, C, P); copied only if strided otherwise.
    """
    arrays, channels = [array(volume) for volume in volumes], like.shape[1]
    if like.stride(1) == 1:
        order = 0, *range(2, like.dim()), 1
        arrays = [a.transpose(order).reshape(a.size // max(1, channels), channels) for a in arrays]
        return True, [np.ascontiguousarray(a) for a in arrays]
    shape = len(like), channels, prod(like.shape[2:])
    return False, [np.ascontiguousarray(a.reshape(shape)) for a in arrays]


def upcast_output(output: Tensor) -> Tensor:
    """Where to compute an output: float32 memory for one of half precision, or the output itself.

    `store` rounds it to where it belongs.
    """
    return upcast(torch.empty_like(output)) if output.dtype in HALF_PRECISION else output


def store(result: Tensor, output: Tensor) -> None:
    """What was computed in `upcast_output(output)`."""
    if result is not output:
        output.copy_(result)


def parallel_for(function: Compiled, total: int, numel: int, *arguments: Any) -> None:
    """function(*arguments, first, last) for parts of range(total), each on a thread of its own.

    Args:
        function: a compiled loop, whose parts write to disjoint memory.
        numel: elements read in all; a few are not worth a second thread.
    """
    compiled = hasattr(function, "py_func")  # not so without numba, or under a debugger
    worth_it = num_threads() > 1 < total and numel >= MIN_PARALLEL_NUMEL
    if compiled and worth_it and openmp_available():
        _in_parallel(function)(arguments, total, num_threads())  # some parts may be empty
    else:
        function(*arguments, 0, total)


@cache
def _in_parallel(function: Compiled) -> Compiled:
    return jit(in_parallel(function))
