"""A kernel's work shared out among torch's threads: each takes its part through all operations.

torch divides every operation among its threads anew, so that what one of them has written another
reads.  In a chain of operations on numbers that fit a cache that is dear, and where the processor's
cores share no cache, as dear as the operations (docs/performance.md).  Here one thread does the
whole chain for some images; inside it torch's operations are not divided again.

The threads are those of the OpenMP library that torch computes with, called upon as a compiler
would for `#pragma omp parallel`; a pool of Python's own would have to compete with them for the
processors.  Without such a library (Windows) the work is one part, and torch divides it as ever.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

Part = TypeVar("Part")
Result = TypeVar("Result")

MAX_IDLE_FRACTION = 0.2  # of the threads' time, lost where some have fewer images than others

_region = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_local = threading.local()  # of each thread of Python's: what it keeps, and what its team does


def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)  # everything that is loaded
        return library if library.GOMP_parallel else None
    except (AttributeError, OSError, TypeError):
        return None


_openmp = _library()


def num_threads() -> int:
    """How many an operation may be divided among: as many as torch has, inside a part one."""
    within = _openmp is not None and _openmp.omp_in_parallel()
    return 1 if within else torch.get_num_threads()


def openmp_available() -> bool:
    """Whether torch's threads can be called upon."""
    return _openmp is not None


def thread_cache() -> dict[str, Any]:
    """What this thread keeps from call to call."""
    mine: dict[str, Any] = _local.__dict__.setdefault("kept", {})
    return mine


def partition(images: Tensor) -> list[slice]:
    """The images (N, ...) in equal parts, one for each thread; in one part if that is better."""
    total, count = len(images), num_threads()
    share = -(-total // count)
    wasted = 1 - total / max(1, share * count)
    if count == 1 or not openmp_available() or not images.is_cpu or wasted > MAX_IDLE_FRACTION:
        return [slice(0, total)]
    return [slice(first, min(first + share, total)) for first in range(0, total, share)]


def parallel_map(
    compute: Callable[[Part], Result], parts: Sequence[Part], x: Tensor
) -> list[Result]:
    """compute(part) for all parts, each by a thread; a single one by all of torch's.

    Args:
        compute: is called without gradients.  An exception is raised once all parts are done.
        x: what is computed with.  Any device but a CPU takes one part after the other.
    """
    if len(parts) < 2 or not openmp_available() or not x.is_cpu:
        return list(map(compute, parts))
    inference = torch.is_inference_mode_enabled()
    keeps: list[dict[str, Any]] = _local.__dict__.setdefault("team", [thread_cache()])
    keeps += [{} for _ in range(len(keeps), torch.get_num_threads())]
    results: dict[int, Result] = {}

    def work(number: int, size: int) -> None:
        _local.kept = keeps[number]
        with torch.inference_mode(inference), torch.no_grad():  # modes are of one thread only
            for index in range(number, len(parts), size):
                results[index] = compute(parts[index])

    parallel_region(work)
    return [results[index] for index in range(len(parts))]


def parallel_region(work: Callable[[int, int], None]) -> None:
    """work(number, size) by each of torch's threads, number 0 to size - 1 of them.

    Raises:
        Whatever work raised, once all are done.
    """
    assert _openmp is not None
    errors: list[BaseException] = []

    def region(_: int | None) -> None:
        assert _openmp is not None
        try:
            work(_openmp.omp_get_thread_num(), _openmp.omp_get_num_threads())
        except BaseException as error:  # ctypes would print it, and go on
            errors.append(error)

    _openmp.GOMP_parallel(_region(region), None, torch.get_num_threads(), 0)
    if errors:
        raise errors[0]
