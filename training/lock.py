"""One process at a time trains a run.

The system forgets a lock with the process that holds it, however that ends: a stale one is no
obstacle.  On a system without such locks nothing is locked.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from .errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def lock(folder: Path) -> IO[str]:
    """The run of a folder, until what this returns is closed.

    Raises:
        UserError: another process trains it.
    """
    file = (folder / "lock").open("a+")
    if fcntl is None:
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        pid = file.read().strip() or "unknown"
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
