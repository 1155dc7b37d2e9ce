"""Images as products read them: pixel by pixel, its channels next to each other.

A product reads an image many times, every pixel once for each window that sees it.  Where channels
lie far apart each number of 4 bytes costs a sector of 32, at every reading; so images that are not
channels last are copied first, which reads and writes each number once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import windows


def channels_adjacent(images: Tensor) -> Tensor:
    """The images where they are if the channels of a pixel are adjacent there, else a copy."""
    if images.stride(1) == 1:
        return images
    return images.contiguous(memory_format=torch.channels_last)


def strides(images: Tensor) -> tuple[int, int, int]:
    """From image to image, row to row and pixel to pixel; channels are adjacent."""
    image, _, row, pixel = images.stride()
    return image, row, pixel


def block_of(size: int, most: int) -> int:
    """How many of them a program takes: a power of 2, and 16 at least, as `tl.dot` asks."""
    return min(most, max(16, windows.power_of_2(size)))
