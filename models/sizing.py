"""What size of image a network takes: it is asked, there is no second set of formulas."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

LARGEST = 1024  # pixels; no network here needs more


def as_pair(image_size: int | Sequence[int]) -> tuple[int, int]:
    """One number for a square image, or (height, width)."""
    if isinstance(image_size, int):
        return image_size, image_size
    height, width = image_size
    return height, width


def feature_shape(
    features: torch.nn.Module, in_channels: int, image_size: int | Sequence[int]
) -> tuple[int, ...]:
    """The shape (C, H, W) of what `features` makes of an image (in_channels, *image_size).

    Runs a copy on the meta device, where tensors have shapes and no numbers.

    Raises:
        ValueError: the image is too small; says the smallest square that fits.
    """
    probe = copy.deepcopy(features).to("meta").eval()

    def shape(size: tuple[int, int]) -> tuple[int, ...]:
        return tuple(probe(torch.empty(1, in_channels, *size, device="meta")).shape[1:])

    def fits(size: int) -> bool:
        try:
            return bool(shape((size, size)))
        except RuntimeError:
            return False

    height, width = as_pair(image_size)
    try:
        return shape((height, width))
    except RuntimeError:
        smallest = next((size for size in range(min(height, width), LARGEST) if fits(size)), None)
        if smallest is None:  # not a matter of size
            raise
    raise ValueError(
        f"an image of {height} x {width} pixels is too small for this network: "
        f"the smallest that fits is {smallest} x {smallest}"
    )
