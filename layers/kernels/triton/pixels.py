"""Images as products read them: pixel by pixel, its channels next to each other.

A product reads an image many times, every pixel once for each window that sees it.  Where channels
lie far apart each number of 4 bytes costs a sector of 32, at every reading; so images that are not
channels last are copied first, which reads and writes each number once.
"""

from __future__ import annotations

from torch import Tensor

from ...interop.memory_format import as_channels_last
from .runtime import jit, power_of_2, tl


@jit
def take_block(number, size, BLOCK: tl.constexpr):
    """What is left of a program's number, and its block of an axis."""
    blocks = tl.cdiv(size, BLOCK)
    return number // blocks, number % blocks * BLOCK + tl.arange(0, BLOCK)


def channels_adjacent(images: Tensor) -> Tensor:
    """The images where they are if the channels of a pixel are adjacent there, else a copy."""
    if images.stride(1) == 1:
        return images
    return as_channels_last(images)


def strides(images: Tensor) -> tuple[int, int, int]:
    """From image to image, row to row and pixel to pixel; channels are adjacent."""
    image, _, row, pixel = images.stride()
    return image, row, pixel


def block_of(size: int, most: int) -> int:
    """How many of them a program takes: a power of 2, and 16 at least, as `tl.dot` asks."""
    return min(most, max(16, power_of_2(size)))


def alignment(images: Tensor, channels: int) -> int:
    """Numbers in 16 bytes, if channels are adjacent, and pixels and groups start at such; else 1.

    From the start of the images on, that is: Triton itself looks where they start.
    """
    numbers = 16 // images.element_size()
    n, _, h, w = images.shape
    steps = [step for size, step in zip((n, h, w), strides(images), strict=True) if size > 1]
    whole = not any(step % numbers for step in (channels, *steps))
    return numbers if whole and images.stride(1) == 1 else 1
