"""Feature sizes and smallest images, found by running a network on the meta device."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import torch
from torch.func import functional_call

MAX_SIZE = 1024  # pixels; every network here accepts images of this size


def as_pair(image_size: int | Sequence[int]) -> tuple[int, int]:
    """One number for a square image, or (height, width)."""
    if isinstance(image_size, int):
        return image_size, image_size
    height, width = image_size
    return height, width


def feature_shape(
    features: torch.nn.Module,
    in_channels: int,
    image_size: int | Sequence[int],
    part: str = "this network",
) -> tuple[int, ...]:
    """The output shape (C, H, W) of `features` for an image (in_channels, *image_size).

    Args:
        part: what the error message calls `features`.
    Raises:
        ValueError: the image is too small; the message gives the smallest square that fits.
    """
    tensors = (*features.named_parameters(), *features.named_buffers())
    on_meta = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors}

    def shape(size: tuple[int, int]) -> tuple[int, ...]:
        x = torch.empty(
            2, in_channels, *size, device="meta"
        )  # one value per channel is too few for batch norm
        return tuple(functional_call(features, on_meta, (x,)).shape[1:])

    def fits(size: int) -> bool:
        try:
            return bool(shape((size, size)))
        except RuntimeError:
            return False

    height, width = as_pair(image_size)
    try:
        return shape((height, width))
    except RuntimeError:
        if not fits(MAX_SIZE):  # the size is not the cause
            raise
    smallest = bisect_left(range(MAX_SIZE), True, lo=min(height, width), key=fits)
    raise ValueError(
        f"an image of {height} x {width} pixels is too small for {part}: "
        f"the smallest that fits is {smallest} x {smallest}"
    )
