"""Kernels on fake tensors: they allocate as ever, which can be counted, but run no loop.

A fake tensor has a shape and strides but no memory.  torch's operations take it; loops would run
over memory, so inside `dry_run` they are passed over.  What a thread keeps from call to call is
another then, or later calls would find fake tensors in it.  Of work that is done part by part, two
parts show what all of them allocate: the second does so while the first is not yet freed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

Part = TypeVar("Part")


class _Thread(threading.local):
    cache: dict[str, Any] | None = None  # None: computing in earnest


_thread = _Thread()


def dry_cache() -> dict[str, Any] | None:
    """What this thread keeps from call to call in a dry run; None outside of one."""
    return _thread.cache


def few(parts: Sequence[Part]) -> Sequence[Part]:
    """All the parts; in a dry run the first two, which are the largest."""
    return parts if _thread.cache is None else parts[:2]


@contextmanager
def dry_run(cache: dict[str, Any]) -> Iterator[None]:
    """Kernels that this thread calls inside the block keep their memory in `cache`, and pass over
    their loops."""
    before, _thread.cache = _thread.cache, cache
    try:
        yield
    finally:
        _thread.cache = before
