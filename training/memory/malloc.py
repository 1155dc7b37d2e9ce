"""Memory that a training step frees is kept for the next step, until an epoch ends."""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # names and numbers of glibc's malloc.h
LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Ask the C library to keep freed memory instead of giving it back to the system.

    Every step allocates and frees the same volumes.  Given back, each of their pages is fetched
    and zeroed anew at its first use, which for a small network costs as much as the arithmetic
    (docs/performance.md).  Without glibc nothing happens.
    """
    if (libc := _glibc()) is not None:
        libc.mallopt(M_TRIM_THRESHOLD, LARGEST)
        libc.mallopt(M_MMAP_MAX, 0)


def give_back_freed_memory() -> None:
    """Give the pages that are free now back to the system.  Without glibc nothing happens."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
