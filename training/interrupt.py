"""SIGINT and SIGTERM end a run after the step that is under way, and not in the middle of it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = signal.SIGINT, signal.SIGTERM


class Interrupted(Exception):
    """A signal has asked the run to end; its checkpoint is written."""

    def __init__(self, number: int, advice: str) -> None:
        super().__init__(advice)
        self.exit_code = 128 + number  # as a shell counts


class Request:
    """Which signal has asked the process to end, if one has."""

    number: int | None = None


@contextmanager
def at_signals() -> Iterator[Request]:
    """Inside the block a first SIGINT or SIGTERM is only noted; a second SIGINT interrupts at once.

    Signals are a matter of the main thread: in another one nothing is noted.
    """
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, frame: FrameType | None) -> None:
        if request.number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.number = number

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
