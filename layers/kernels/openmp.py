"""A kernel's work divided among torch's threads: each takes its part through all operations.

torch divides every operation among its threads anew, so that what one of them has written another
reads.  In a chain of operations on values that fit a cache that is expensive, and where the cores
share no cache, as expensive as the operations themselves (docs/performance.md).  Here one thread
runs the whole chain for some images; within it torch's operations are not divided again.

The threads are those of the OpenMP library that torch computes with, called as a compiler calls
them for `#pragma omp parallel`; a thread pool of Python's would compete with them for the cores.
A process may have loaded several such libraries (scikit-learn brings one of its own), so `library`
looks for torch's and verifies it.  Where there is none, the work is one part, torch divides its own
operations as ever, and one warning says so.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..interop.dry_run import dry_cache
from .fallback import warn_once

Part = TypeVar("Part")
Result = TypeVar("Result")

MAX_IDLE_FRACTION = 0.2  # of the threads' time, lost where some have fewer images than others

FUNCTIONS = "GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads"  # that divide work
QUERIES = "omp_get_max_threads", "omp_set_num_threads", "omp_in_parallel"

_region = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_local = threading.local()  # of each Python thread: its cache, and those of its team
_forked = False  # this process is a child of one that may have used OpenMP


def library() -> ctypes.CDLL | None:
    """torch's OpenMP library; None, and one warning, where it cannot be called."""
    found, problem = _find()
    if problem:
        warn_once(f"{problem}, so each of the CPU kernels in layers/ runs on one thread")
    return found


@cache
def _find() -> tuple[ctypes.CDLL | None, str]:
    """The library, or what is the matter."""
    if _forked:
        return None, (
            "torch's OpenMP threads do not survive a fork (start processes by 'spawn', or call "
            "torch.set_num_threads(1) in them)"
        )
    problem = (
        "no OpenMP library with the interface of GNU's is loaded (PyTorch's wheels for Linux have "
        "one)"
    )
    for candidate in _candidates():
        if all(hasattr(candidate, name) for name in FUNCTIONS + QUERIES):
            problem = _verify(candidate)
            if not problem:
                return candidate, ""
    return None, problem


def _candidates() -> Iterator[ctypes.CDLL]:
    """Where torch's calls may lead: to what the whole process sees first, or what torch loaded."""
    files = (Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*")
    for name in (None, *map(str, files)):
        try:
            yield ctypes.CDLL(name, mode=os.RTLD_NOLOAD)
        except (AttributeError, OSError, TypeError):  # Windows has none of it
            continue


def _verify(candidate: Any) -> str:
    """What is the matter with a library: it is not torch's, or a mixture of several.

    torch asks its library for the number of threads, which is set here, for the calling thread.
    """
    count = torch.get_num_threads()
    candidate.omp_set_num_threads(count + 1)
    followed = torch.get_num_threads() == count + 1
    candidate.omp_set_num_threads(count)
    if not followed or torch.get_num_threads() != count:
        return "the OpenMP library that is loaded is not the one torch computes with"
    team: list[tuple[int, int]] = []  # what each of two threads sees; there may be one alone

    def region(_: int | None) -> None:
        team.append((candidate.omp_get_num_threads(), candidate.omp_in_parallel()))

    candidate.GOMP_parallel(_region(region), None, 2, 0)
    size = len(team)
    consistent = team and team == [(size, size > 1)] * size
    return "" if consistent else "the OpenMP functions that are loaded are of different libraries"


def _after_fork() -> None:
    """A child has torch's OpenMP library, but not its threads: it would wait for them forever."""
    global _forked
    _forked = True
    _find.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def openmp_available() -> bool:
    """Whether torch's threads can be called upon."""
    return library() is not None


def num_threads() -> int:
    """How many an operation may be divided among: as many as torch has, but one within a part."""
    count = torch.get_num_threads()
    if count == 1:
        return 1
    openmp = library()
    return 1 if openmp is not None and openmp.omp_in_parallel() else count


def thread_cache() -> dict[str, Any]:
    """What this thread keeps from call to call."""
    if (dry := dry_cache()) is not None:
        return dry
    mine: dict[str, Any] = _local.__dict__.setdefault("cache", {})
    return mine


def partition(images: Tensor) -> list[slice]:
    """The images (N, ...) in equal parts, one for each thread; in one part if that is better."""
    total, count = len(images), num_threads() if images.is_cpu else 1
    size = -(-total // count)
    idle = 1 - total / max(1, size * count)
    if count == 1 or idle > MAX_IDLE_FRACTION or not openmp_available():
        return [slice(0, total)]
    return [slice(first, min(first + size, total)) for first in range(0, total, size)]


def parallel_map(
    compute: Callable[[Part], Result], parts: Sequence[Part], x: Tensor
) -> list[Result]:
    """compute(part) for all parts, each on one thread; a single part on all of torch's.

    Args:
        compute: is called without gradients.  An exception is raised once all parts are done.
        x: what is computed with.  On any device but a CPU, parts are computed one by one.
    """
    if len(parts) < 2 or not x.is_cpu or num_threads() == 1 or not openmp_available():
        return list(map(compute, parts))
    inference = torch.is_inference_mode_enabled()
    caches: list[dict[str, Any]] = _local.__dict__.setdefault("team", [thread_cache()])
    caches += [{} for _ in range(len(caches), torch.get_num_threads())]
    results: dict[int, Result] = {}

    def work(number: int, size: int) -> None:
        _local.cache = caches[number]
        with torch.inference_mode(inference), torch.no_grad():  # modes are per thread
            for index in range(number, len(parts), size):
                results[index] = compute(parts[index])

    parallel_region(work)
    return [results[index] for index in range(len(parts))]


def parallel_region(work: Callable[[int, int], None]) -> None:
    """work(number, size) on each of torch's threads, numbered from 0 to size - 1.

    Raises:
        Whatever work raised, once all are done.
    """
    openmp = library()
    assert openmp is not None
    errors: list[BaseException] = []

    def region(_: int | None) -> None:
        try:
            work(openmp.omp_get_thread_num(), openmp.omp_get_num_threads())
        except BaseException as error:  # ctypes would print it, and go on
            errors.append(error)

    openmp.GOMP_parallel(_region(region), None, torch.get_num_threads(), 0)
    if errors:
        raise errors[0]
