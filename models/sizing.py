"""What size of image a network takes: it is asked, there is no second set of formulas."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import torch
from torch.func import functional_call

LARGEST = 1024  # pixels; no network here needs more


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
    """The shape (C, H, W) of what `features` makes of an image (in_channels, *image_size).

    Runs it on the meta device, where tensors have shapes and no numbers.

    Args:
        part: what `features` is to the user, for the error's sentence.
    Raises:
        ValueError: the image is too small; says the smallest square that fits.
    """
    tensors = (*features.named_parameters(), *features.named_buffers())
    on_meta = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors}

    def shape(size: tuple[int, int]) -> tuple[int, ...]:
        x = torch.empty(2, in_channels, *size, device="meta")  # batch norm cannot train on one
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
        if not fits(LARGEST):  # not a matter of size
            raise
    smallest = bisect_left(range(LARGEST), True, lo=min(height, width), key=fits)
    raise ValueError(
        f"an image of {height} x {width} pixels is too small for {part}: "
        f"the smallest that fits is {smallest} x {smallest}"
    )
