"""The images of a data set to which each map of a layer responds most, and where in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from .volumes import volume


class Strongest(NamedTuple):
    """For each map its strongest activations, at most one in each image, the strongest first."""

    values: Tensor  # (maps, count)
    images: Tensor  # (maps, count) int64: their numbers in the data set
    units: Tensor  # (maps, count, 3) int64: map, row, column


@torch.no_grad()
def strongest(
    model: torch.nn.Module, layer: str, batches: Iterable[tuple[Tensor, Tensor]], count: int = 9
) -> Strongest:
    """
    Args:
        layer: the name of a module whose output is (N, maps, H, W).
        batches: images as the network sees them, (N, C, S, S), and their numbers, (N).
        count: activations of each map; fewer if there are fewer images.
    Raises:
        KeyError: no such layer.
        ValueError: its output has no maps.
    """
    best: tuple[Tensor, ...] | None = None
    for x, numbers in batches:
        y = volume(model, layer, x)
        if y.dim() != 4:
            raise ValueError(f"{layer} has no maps: its output is {tuple(y.shape)}")
        values, places = y.flatten(2).max(2)  # (N, maps)
        found = values.T, numbers.to(y.device).expand(y.shape[1], -1), places.T
        if best is not None:
            found = tuple(torch.cat(pair, 1) for pair in zip(best, found, strict=True))  # type: ignore[assignment]
        order = found[0].sort(dim=1, descending=True, stable=True).indices[:, :count]
        best = tuple(tensor.gather(1, order) for tensor in found)
        width = y.shape[3]
    if best is None:
        raise ValueError("there are no images")
    values, images, places = best
    maps = torch.arange(len(values), device=values.device)[:, None].expand_as(places)
    return Strongest(values, images, torch.stack((maps, places // width, places % width), 2))
