"""Runs a process with a deadline, passes its output on, and reports why it failed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path


def run(
    command: Sequence[str], seconds: float, log: Path, on_line: Callable[[str], None]
) -> str | None:
    """Run a command; after `seconds`, kill it and its children.

    Args:
        log: a file to which every line is appended.
        on_line: called with every line, without its newline.
    Returns:
        None, or the reason of the failure in a few words.
    """
    timed_out = threading.Event()
    with (
        log.open("a") as file,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", start_new_session=True,
        ) as process,
    ):  # fmt: skip

        def stop() -> None:
            timed_out.set()
            _kill(process.pid)

        timer = threading.Timer(max(0.0, seconds), stop)
        timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                file.write(line)
                file.flush()
                on_line(line.rstrip("\n"))
            code = process.wait()
        finally:
            timer.cancel()
            _kill(process.pid)  # its children, or itself if we were interrupted
    if timed_out.is_set():
        return f"no end within {seconds:.0f} s"
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"exit code {code}" if code else None


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # already gone
        os.killpg(group, signal.SIGKILL)
