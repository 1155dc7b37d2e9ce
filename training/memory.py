"""What cannot fit the memory of this machine is refused before it is tried."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import torch

from .errors import UserError


def check_fits(needed: int, what: str, advice: str, available: int | None = None) -> None:
    """
    Args:
        needed: bytes, at the least.
        available: bytes; by default those of this machine.
    Raises:
        UserError: they are more than there are.
    """
    available = total() if available is None else available
    if needed > available:
        raise UserError(
            f"{what} need at least {_gigabytes(needed)} of memory, but there are "
            f"{_gigabytes(available)}: {advice}"
        )


@cache
def total() -> int:
    """Bytes of memory that this process may have: the machine's, or its container's."""
    try:
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):  # not on Windows
        return 2**62
    try:
        return min(physical, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no container, or one without a limit
        return physical


def used(device: torch.device) -> int:
    """Bytes that this process holds: at the most so far on a GPU, now on a CPU; 0 if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):  # not on Linux
        return 0


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"
