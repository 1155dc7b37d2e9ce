"""Blocks of channels by pixels: what the normalising kernels share.

Images (N, C, ...) are seen as (N, C, P), all pixels of an image in one dimension.  A block is some
channels of some of the N*P pixels; values that are adjacent in memory are adjacent in the block:

    channels last   pixels by channels        the channels of a pixel are adjacent
    otherwise       channels by pixels        the pixels of a channel are

What depends on the pixel alone, or on the channel alone, is a vector that is worked out once for
the block, and then spread over it.
"""

from __future__ import annotations

from torch import Tensor

from .runtime import jit, tl


@jit
def over_pixels(values, LAST: tl.constexpr):
    """A vector with a value for each pixel, as a column or a row of the block."""
    return values[:, None] if LAST else values[None, :]


@jit
def over_channels(values, LAST: tl.constexpr):
    """The same with a value for each channel."""
    return values[None, :] if LAST else values[:, None]


@jit
def pixel_offset(at, pixels, s_n, s_p):
    """Where pixels lie, numbered through all images."""
    return at // pixels * s_n + at % pixels * s_p


def as_pixels(x: Tensor) -> Tensor:
    """(N, C, ...) as (N, C, P): a view, but for crops, whose pixels no single stride leads through.

    Those are copied.
    """
    return x.flatten(2) if x.dim() > 2 else x.unsqueeze(2)


def channels_are_adjacent(x: Tensor) -> bool:
    """Of (N, C, P): channels last, or images of a single pixel."""
    return x.stride(1) == 1 and x.shape[1] > 1
