"""Blocks of channels by pixels: what the normalising kernels share.

Images (N, C, ...) are seen as (N, C, P), all pixels of an image in one dimension.  A block is some
channels of some pixels of an image; values that are adjacent in memory are adjacent in the block:

    channels last   pixels by channels        the channels of a pixel are adjacent
    otherwise       channels by pixels        the pixels of a channel are

Where there is nothing between one image's pixels and the next one's, as in channels last, all
images are one, (1, C, N*P).  So blocks are full, however small the images are.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from . import runtime
from .runtime import cdiv, jit, power_of_2, tl


@jit
def over(values, LAST: tl.constexpr):
    """A vector with a value for each channel, as a row or a column of the block."""
    return values[None, :] if LAST else values[:, None]


@jit
def over_pixels(values, LAST: tl.constexpr):
    """The same with a value for each pixel."""
    return values[:, None] if LAST else values[None, :]


@jit
def both(channel, pixel, LAST: tl.constexpr):
    """Whether a value of the block exists: its channel does, and its pixel."""
    return over(channel, LAST) & over_pixels(pixel, LAST)


@jit
def channels_of(program, channels, BC: tl.constexpr):
    """The channels of a program; its neighbours have the others, of the same pixels."""
    return program % tl.cdiv(channels, BC) * BC + tl.arange(0, BC)


@jit
def pixels_of(block, per_image, BP: tl.constexpr):
    """The image of a block, and its pixels."""
    return block // per_image, block % per_image * BP + tl.arange(0, BP)


@jit
def offset(n, c, p, s_n, s_c, s_p, LAST: tl.constexpr):
    """Where the values of a block lie."""
    return n * s_n + (over(c * s_c, LAST) + over_pixels(p * s_p, LAST))


@jit
def pixels_in(first, end, per_image, pixels, BP: tl.constexpr):
    """How many blocks have together: the last one of an image may not be full."""
    before_first = first // per_image * pixels + tl.minimum(first % per_image * BP, pixels)
    return end // per_image * pixels + tl.minimum(end % per_image * BP, pixels) - before_first


@jit
def of_channels(values, c, channels):
    """What a vector holds for the channels of a block."""
    return tl.load(values + c, mask=c < channels, other=0.0).to(tl.float32)


class Blocks:
    """Images of one shape (N, C, ...), cut into blocks of `size` values; the last ones are outputs.

    A kernel is launched with LAST, BP pixels and BC channels of a block, and the sizes (blocks of
    an image, channels, pixels).

    Args:
        adjacent: channels of a block at most, where channels are adjacent
        apart: and where they are not
    """

    def __init__(self, *images: Tensor, size: int, adjacent: int, apart: int, warps: int) -> None:
        self.images = _folded([as_pixels(x) for x in images])
        n, channels, pixels = self.images[-1].shape
        last = channels > 1 and self.images[-1].stride(1) == 1
        in_channels = min(adjacent if last else apart, power_of_2(channels))
        in_pixels = size // in_channels
        self.pixels, self.channels = pixels, channels
        self.per_image, self.columns = cdiv(pixels, in_pixels), cdiv(channels, in_channels)
        self.number = n * self.per_image  # of blocks that all pixels make
        self.constants = dict(LAST=last, BP=in_pixels, BC=in_channels, num_warps=warps)

    def parts(self, programs: int, most: int, blocks: int) -> tuple[int, int, int]:
        """How many parts make so many programs, the blocks of a part, and of all of them."""
        parts = min(most, max(1, programs // self.columns))
        per_part = max(blocks, cdiv(self.number, parts))
        return cdiv(self.number, per_part), per_part, self.number

    def launch(self, kernel: Any, programs: int, *arguments: Any, **constants: Any) -> None:
        """So many programs for each block of channels; they get the images, and their strides."""
        strides = [stride for x in self.images for stride in x.stride()]
        sizes = self.per_image, self.channels, self.pixels
        arguments = *self.images, *arguments, *strides, *sizes
        constants = self.constants | constants
        runtime.launch(kernel, programs * self.columns, *arguments, **constants)


def as_pixels(x: Tensor) -> Tensor:
    """(N, C, ...) as (N, C, P): a view, but for crops, whose pixels no single stride leads through.

    Those are copied.
    """
    return x.flatten(2) if x.dim() > 2 else x.unsqueeze(2)


def _folded(images: list[Tensor]) -> list[Tensor]:
    """All images as one, where one stride leads through the pixels of all."""
    pixels = images[0].shape[2]
    if all(pixels == 1 or x.stride(0) == pixels * x.stride(2) for x in images):
        return [x.transpose(0, 1).flatten(1).unsqueeze(0) for x in images]
    return images
