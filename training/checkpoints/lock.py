"""One process at a time trains a run.

The system forgets a lock with the process that holds it, however that ends: a stale one is no
obstacle.  On a system without such locks nothing is locked.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import IO

from ..errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


ORPHANS = 15.0  # seconds that the loader's workers of a process that was killed may live on


def lock(folder: Path) -> IO[str]:
    """The run of a folder, until what this returns is closed.

    Raises:
        UserError: another process trains it.
    """
    file = (folder / "lock").open("a+")
    if fcntl is None:
        return file
    try:
        _acquire(file)
    except BlockingIOError:
        pid = _holder(file)
        file.close()
        raise UserError(
            f"{folder} is being trained by another process (pid {pid}): wait for it, or end it "
            "and resume"
        ) from None
    except OSError:  # a file system that has no locks
        return file
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _acquire(file: IO[str]) -> None:
    """
    Raises:
        BlockingIOError: a process that is alive holds the lock, and not its workers alone.
    """
    deadline = time.monotonic() + ORPHANS
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline or _is_alive(_holder(file)):
                raise
        time.sleep(0.1)


def _holder(file: IO[str]) -> str:
    """The number of the process that wrote it into the file."""
    file.seek(0)
    return file.read().strip() or "unknown"


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OSError):  # it is another user's
        return True
    return True
