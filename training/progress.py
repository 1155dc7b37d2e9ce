"""A progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator

from tqdm import tqdm

LINE_EVERY = 30  # seconds between plain lines within an epoch


class Progress:
    """Walks over batches; shows figures, images/s and the time left."""

    def __init__(self, batches: Iterable, total: int, label: str) -> None:
        self.label, self.total = label, total
        self.terminal = sys.stderr.isatty()
        self.bar = tqdm(
            batches, label, total, disable=not self.terminal, leave=False, dynamic_ncols=True
        )
        self.started = self.spoke = time.monotonic()

    def __iter__(self) -> Iterator:
        return iter(self.bar)

    def show(self, step: int, **figures: str) -> None:
        """After batch number `step`, from 1."""
        if self.terminal:
            self.bar.set_postfix(figures, refresh=False)
        elif time.monotonic() - self.spoke > LINE_EVERY:
            self.spoke = time.monotonic()
            left = (self.spoke - self.started) / step * (self.total - step)
            say(f"{self.label}  {step}/{self.total}  {described(figures)}  {left:.0f} s left")


def say(line: str) -> None:
    """A line that does not tear a progress bar."""
    tqdm.write(line)
    sys.stdout.flush()


def described(figures: dict[str, str]) -> str:
    return "  ".join(f"{name} {value}" for name, value in figures.items())


def table(rows: list[tuple[str, str]]) -> str:
    """Names and values in two columns."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)
