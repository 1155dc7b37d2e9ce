"""Loops over single values, compiled to machine code by numba, for a CPU.

A chain of torch's operations goes through memory once for each; a loop does all of them while it
has a value at hand.  It also says plainly what is computed.  A GPU has no use for it, nor is it
needed: where numba is missing, torch's operations compute the same, and one warning says so.

A loop is compiled when it is first called with values of a dtype, which takes about a second, and
kept on disk for the next process (compiled_cache.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..interop.dry_run import dry_cache
from .fallback import warn_once
from .openmp import library, num_threads, openmp_available

OLDEST, TOO_NEW = (0, 61), (0, 69)  # of numba: compiled_cache.py and parallel.py use its internals
INSTALL = "install 'numba>={}.{},<{}.{}'".format(*OLDEST, *TOO_NEW)
MIN_PARALLEL_NUMEL = 1 << 19  # from which a second thread is worth waking up
TYPES = torch.float32, torch.float64

Compiled = Callable[..., Any]


def _import_numba() -> tuple[Any, str]:
    """numba, or what is the matter with it."""
    try:
        import numba

        version = tuple(int(part) for part in numba.__version__.split(".")[:2])
        if not OLDEST <= version < TOO_NEW:
            return None, f"numba {numba.__version__} is not supported: {INSTALL}"
        if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
            return None, "numba is told not to compile: unset NUMBA_DISABLE_JIT"
        from . import compiled_cache  # noqa: F401, which needs numba's internals
    except Exception as error:  # its own, too: it refuses some versions of numpy
        return None, f"numba cannot be imported ({error}): {INSTALL}"
    return numba, ""


numba, _problem = _import_numba()


def jit(function: Compiled) -> Compiled:
    """The function compiled: sums in any order, but NaN and infinity as they are.

    It releases the GIL, so that threads can run it at the same time.
    """
    if numba is None:
        return function
    from .compiled_cache import disk_cache

    compiled = numba.njit(
        function, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "reassoc"}
    )
    compiled._cache = disk_cache(function)
    return compiled


def jit_unavailable() -> str | None:
    """Why loops are not compiled here, or None.  Whoever asks first is warned."""
    problem = _problem or _compiles()
    if problem:
        warn_once(f"{problem}.  Until then some of layers/ takes several times as long on a CPU")
    return problem or None


@cache
def _compiles() -> str:
    """What is the matter with numba, if anything: tried out."""
    try:
        return "" if jit(_successor)(1) == 2 else f"numba miscalculates: {INSTALL}"
    except Exception as error:
        return f"numba cannot compile here ({type(error).__name__}: {error}): {INSTALL}"


def _successor(number):
    return number + 1


def why_not_jit(x: Tensor) -> str | None:
    """None, or why values like these cannot be looped over."""
    if not x.is_cpu:
        return "compiled loops are for a CPU"
    if x.dtype not in TYPES:
        return f"loops are compiled for float32 and float64, not {x.dtype}"
    return jit_unavailable()


def array(volume: Tensor) -> Any:
    """The same memory, as numba takes it; in a dry run the shape alone."""
    if dry_cache() is not None:
        return np.broadcast_to(np.zeros((), str(volume.dtype).split(".")[1]), volume.shape)
    return volume.detach().numpy()


def parallel_for(function: Compiled, total: int, numel: int, *arguments: Any) -> None:
    """function(*arguments, first, last) for parts of range(total), each on a thread of its own.

    Args:
        function: a compiled loop, whose parts write to disjoint memory.
        numel: elements read in all; a few are not worth a second thread.
    """
    if dry_cache() is not None:
        return
    threads = num_threads() if numel >= MIN_PARALLEL_NUMEL else 1
    if threads > 1 < total and openmp_available() and _is_bound():
        _in_parallel(function)(arguments, total, threads)  # some parts may be empty
    else:
        function(*arguments, 0, total)


@cache
def _in_parallel(function: Compiled) -> Compiled:
    from .parallel import in_parallel

    return jit(in_parallel(function))


@cache
def _is_bound() -> bool:
    """Whether compiled code calls the OpenMP library that torch computes with: tried out."""
    if numba is None:
        return False
    try:
        from . import parallel

        theirs = parallel.bind(library())
        problem = "" if theirs == [*jit(parallel.addresses)()] else "they are bound to another one"
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    if problem:
        message = f"compiled loops cannot call torch's OpenMP library ({problem})"
        warn_once(f"{message}, so each of them runs on one thread: {INSTALL}")
    return not problem
