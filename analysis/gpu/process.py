"""A process with a deadline: its lines as they come, and why it ended badly, if it did."""

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
    """Run a command; when its time is over, end it and whatever it started.

    Args:
        log: a file that gets every line, added to what is there.
        on_line: called with every line, without its end.
    Returns:
        None, or in a few words why it failed.
    """
    late = threading.Event()
    with (
        log.open("a") as file,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", start_new_session=True,
        ) as process,
    ):  # fmt: skip

        def end() -> None:
            late.set()
            _kill(process.pid)

        timer = threading.Timer(max(0.0, seconds), end)
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
            _kill(process.pid)  # what it left behind, or itself if we were interrupted
    if late.is_set():
        return f"no end within {seconds:.0f} s"
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"exit code {code}" if code else None


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # all gone
        os.killpg(group, signal.SIGKILL)
