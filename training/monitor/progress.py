"""A progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from tqdm import tqdm

_log: Path | None = None
_muted = False
LINE_EVERY = 30  # seconds between plain lines within an epoch


class Progress:
    """Walks over batches; shows metrics, images/s and the time left."""

    def __init__(
        self, batches: Iterable, total: int, label: str, done: int = 0, later: int = 0
    ) -> None:
        """Of `total` batches, `done` were walked over before; `later` ones follow in other passes
        of the run."""
        self.label, self.total, self.done, self.later = label, total, done, later
        self.waited = 0.0  # seconds, for the loader
        self.terminal = sys.stderr.isatty() and not _muted
        self.bar = tqdm(
            batches,
            label,
            total,
            initial=done,
            disable=not self.terminal,
            leave=False,
            dynamic_ncols=True,
        )
        self.started = self.spoke = time.monotonic()

    def __iter__(self) -> Iterator:
        batches = iter(self.bar)
        while True:
            asked = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self.waited += time.perf_counter() - asked
            yield batch

    def show(self, step: int, /, **metrics: str) -> None:
        """After batch number `step`, from 1."""
        now = time.monotonic()
        each = (now - self.started) / (step - self.done)
        left = each * (self.total - step)
        run_left = tqdm.format_interval(left + each * self.later)  # without validations
        if self.terminal:
            if self.later:
                metrics["run left"] = run_left
            self.bar.set_postfix(metrics, refresh=False)
        elif now - self.spoke > LINE_EVERY:
            self.spoke = now
            run = f", about {run_left} of the run" if self.later else ""
            told = "  ".join(filter(None, [f"{step}/{self.total}", described(metrics)]))
            say(f"{self.label}  {told}  {left:.0f} s left{run}")


def say(line: str) -> None:
    """A line that does not tear a progress bar; also in the run's log.

    A run goes on when nobody reads its lines any more.
    """
    if _muted:
        return
    if sys.stdout is not None:  # it is closed
        try:
            tqdm.write(line)
            sys.stdout.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            where = f"; its lines are in {_log}" if _log is not None else ""
            why = "nobody reads the output"
            if not isinstance(error, BrokenPipeError):  # it goes to a file on a full disk
                why = f"the output cannot be written ({error.strerror})"
            with contextlib.suppress(OSError):
                print(f"warning: {why}; the run goes on{where}", file=sys.stderr)
    if _log is None:
        return
    try:
        with _log.open("a", errors="backslashreplace") as file:
            file.write(line + "\n")
    except OSError as error:
        warnings.warn(f"{_log} cannot be written ({error.strerror})", stacklevel=2)
        log_to(None)


def log_to(path: Path | None) -> None:
    """From now on what is said is also written to the end of a file, or of none."""
    global _log
    _log = path


def mute() -> None:
    """Say nothing from now on, and draw no bars: another process of the run does."""
    global _muted
    _muted = True


def described(metrics: dict[str, str]) -> str:
    return "  ".join(f"{name} {value}" for name, value in metrics.items())


def table(rows: list[tuple[str, str]]) -> str:
    """Names and values in two columns."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)
