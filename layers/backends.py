"""Switches for ways to compute, as torch.backends has them for the libraries that it calls.

    layers.backends.winograd.enabled = False              for the rest of the program
    with layers.backends.winograd.flags(enabled=False):   for a while

A switch belongs to the process, as torch's do.  `torch.compile` looks at it whenever what it
compiled is called, and compiles again once it was turned.
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
        """Turned inside a `with`, and back after it."""
        before, self.enabled = self.enabled, enabled
        try:
            yield
        finally:
            self.enabled = before


winograd = Backend()  # may conv2d(..., algorithm="auto") take Winograd's algorithm?
