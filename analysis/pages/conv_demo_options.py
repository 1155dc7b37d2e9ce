"""The geometry of a convolution to be stepped through: what `visualize.py conv-demo` asks for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ConvDemoOptions:
    """A square image and square filters."""

    size: int = 5
    """Pixels along a side of the image."""
    kernel: int = 3
    """Pixels along a side of a filter."""
    stride: int = 2
    """Pixels from one window to the next."""
    padding: int = 1
    """Zeros around the image, on each side."""
    dilation: int = 1
    """Pixels from one weight of a filter to the next; 1 is an ordinary filter."""
    channels: int = 3
    """Of the image, and of every filter."""
    filters: int = 2
    """Filters, and so maps of the output."""
