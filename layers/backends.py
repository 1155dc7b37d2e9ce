"""Switches for ways to compute, as torch.backends has them for the libraries that it calls.

    layers.backends.winograd.enabled = False              for the rest of the program
    with layers.backends.winograd.flags(enabled=False):   for a while
    with layers.reference():                              the same of all kernels

A switch belongs to the process, as torch's do; what `torch.compile` made is made anew after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager


class Backend:
    """Whether a way to compute may be chosen by those who leave the choice to us."""

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled

    @contextmanager
    def flags(self, enabled: bool) -> Iterator[None]:
        """Set inside a `with` block, and restored after it."""
        before, self.enabled = self.enabled, enabled
        try:
            yield
        finally:
            self.enabled = before


kernels = Backend()  # may an operator be computed by anything but its definition in ops/?
winograd = Backend()  # may conv2d(..., algorithm="auto") take Winograd's algorithm?
tf32x3 = Backend(enabled=False)  # may it take three products of tf32 on a GPU, instead of ieee's?


def reference() -> AbstractContextManager[None]:
    """Compute by the definitions in layers/ops/ alone inside a `with` block.

    What is computed forward inside the block is differentiated by the definitions, too, wherever
    and in whichever thread its backward runs.
    """
    return kernels.flags(enabled=False)
