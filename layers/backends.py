"""Switches for ways to compute, as torch.backends has them for the libraries that it calls.

    layers.backends.winograd.enabled = False              for the rest of the program
    with layers.backends.winograd.flags(enabled=False):   for a while

A switch belongs to the process, as torch's do.  `torch.compile` guards on it: what was compiled
before a change is compiled again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Backend:
    """Whether a way to compute may be chosen by those who leave the choice to us."""

    def __init__(self) -> None:
        self.enabled = True

    @contextmanager
    def flags(self, enabled: bool) -> Iterator[None]:
        """Set inside a `with` block, and restored after it."""
        before, self.enabled = self.enabled, enabled
        try:
            yield
        finally:
            self.enabled = before


winograd = Backend()  # may conv2d(..., algorithm="auto") take Winograd's algorithm?
