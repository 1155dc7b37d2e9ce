"""What cannot fit the memory of this machine is refused before it is tried."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

from ..errors import UserError


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


def free(device: torch.device) -> int | None:
    """Bytes that this process can still allocate on a device; None if they cannot be told."""
    if device.type == "cpu":
        return _free_of_this_machine()
    module = torch.get_device_module(device)
    if not hasattr(module, "mem_get_info") or not hasattr(module, "memory_reserved"):
        return None
    ours = module.memory_reserved(device) - module.memory_allocated(device)
    return int(module.mem_get_info(device)[0] + ours)


def _free_of_this_machine() -> int | None:
    """What Linux calls available, or less: up to the container's limit, or the process's."""
    try:
        available = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
        size = re.search(r"VmSize:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return None
    if available is None or size is None:
        return None
    limits = [int(available[1]) << 10]
    with suppress(OSError, ValueError):  # no container, or one without a limit
        group = Path("/sys/fs/cgroup")
        used = int((group / "memory.current").read_text())
        cache = re.search(r"inactive_file (\d+)", (group / "memory.stat").read_text())
        limit = int((group / "memory.max").read_text())
        limits.append(limit - used + (int(cache[1]) if cache else 0))
    import resource  # which Windows has not, nor what is read above

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        limits.append(limit - (int(size[1]) << 10))
    return max(0, min(limits))


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"
