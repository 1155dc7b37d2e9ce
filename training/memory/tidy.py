"""A long run keeps its size: what an epoch leaves behind is freed when it ends, not some day."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .malloc import give_back_freed_memory


@contextmanager
def tidying() -> Iterator[Callable[[], None]]:
    """A function that frees what nobody can reach, and gives free pages back to the system.

    Python looks for what refers to itself, such as a figure and its axes, only now and then, and
    the C library keeps what is freed (`keep_freed_memory`); so a run would grow for some epochs, to
    a size left to chance.  What was there before training stays for all of it and is not searched,
    so that a call takes milliseconds.
    """

    def tidy() -> None:
        gc.collect()
        give_back_freed_memory()

    tidy()
    gc.freeze()
    try:
        yield tidy
    finally:
        gc.unfreeze()
