"""Occlusion: how a network's answer changes when a part of the image is covered.

Zeiler & Fergus 2013, section 4.2: a grey square slides over the image; where the probability of the
true class falls, the network looked at what is covered.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


@torch.no_grad()
def occlude(
    probabilities: Callable[[Tensor], Tensor],
    image: Tensor,
    size: int,
    stride: int,
    grey: int = 128,
    batch_size: int = 64,
) -> Tensor:
    """The network's answers for every place of the square.

    Args:
        probabilities: of the classes, (N, num_classes), for images (N, C, H, W) uint8.
        image: (C, H, W) uint8.
        size: of the square, in pixels.
        stride: pixels from one place to the next.
        grey: of the square, 0 to 255.
        batch_size: images at a time.
    Returns:
        (rows, columns, num_classes). The centre of the square visits the whole image: at the
        borders, a part of it lies outside.
    """
    _, height, width = image.shape
    tops, lefts = (torch.arange(0, length, stride) - size // 2 for length in (height, width))
    places = torch.cartesian_prod(tops, lefts)
    found = []
    for some in places.split(batch_size):
        covered = image.repeat(len(some), 1, 1, 1)
        for one, (top, left) in zip(covered, some.tolist(), strict=True):
            one[:, max(0, top) : top + size, max(0, left) : left + size] = grey
        found.append(probabilities(covered))
    return torch.cat(found).unflatten(0, (len(tops), len(lefts)))
