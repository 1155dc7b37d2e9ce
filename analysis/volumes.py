"""The volumes of a network: what every layer makes of an image, and which of them to look at."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

POOLING = torch.nn.MaxPool2d | torch.nn.AvgPool2d | torch.nn.LPPool2d | torch.nn.AdaptiveAvgPool2d
UNSEEN = torch.nn.Dropout | torch.nn.Identity | torch.nn.Flatten  # in evaluation they do nothing


class Volume(NamedTuple):
    """The output of a layer, or of a block of layers."""

    name: str  # the module's in the network, with #2 at its second call
    module: torch.nn.Module
    x: Tensor  # (N, C, H, W) or (N, C)

    @property
    def has_filters(self) -> bool:
        """Whether it mixes maps, so that its maps are other ones than those that it read."""
        return any(parameter.dim() > 1 for parameter in self.module.parameters())

    @property
    def has_maps(self) -> bool:
        return self.x.dim() == 4 and self.x[0, 0].numel() > 1

    @property
    def is_pooled(self) -> bool:
        return isinstance(self.module, POOLING)


@torch.no_grad()
def volumes(model: torch.nn.Module, x: Tensor) -> tuple[dict[str, Volume], Tensor]:
    """Every volume between the images x and the network's output, in order, and that output.

    Of a network of the residual or Inception kind, both those of its blocks and those within them.
    """
    seen: dict[str, Volume] = {}

    def keep(volume: Volume) -> None:
        seen[volume.name] = volume

    with watched(model, keep):
        output = model(x)
    return seen, output


def volume(model: torch.nn.Module, name: str, x: Tensor) -> Tensor:
    """One volume; what comes behind it is not computed.

    Raises:
        KeyError: the network has none of that name.
    """

    class Reached(Exception):
        pass

    found = []

    def stop(volume: Volume) -> None:
        if volume.name == name:
            found.append(volume.x)
            raise Reached

    with watched(model, stop), contextlib.suppress(Reached):
        model(x)
    if not found:
        raise KeyError(name)
    return found[0]


@contextlib.contextmanager
def watched(model: torch.nn.Module, see: Callable[[Volume], None]) -> Iterator[None]:
    """Inside the block `see` is called with every volume as soon as it is computed."""
    calls: Counter[str] = Counter()

    def hook(name: str, module: torch.nn.Module, inputs: tuple, output: object) -> None:
        calls[name] += 1
        if isinstance(output, Tensor):
            see(Volume(name if calls[name] == 1 else f"{name}#{calls[name]}", module, output))

    hooks = [
        module.register_forward_hook(partial(hook, name))
        for name, module in model.named_modules()
        if name and not isinstance(module, UNSEEN)
    ]
    try:
        yield
    finally:
        for one in hooks:
            one.remove()


def outline(model: torch.nn.Module) -> Iterator[str]:
    """The layers of the network, and its blocks as one: what a diagram of it would show."""
    for name, module in model.named_children():
        if isinstance(module, torch.nn.Sequential):
            yield from (f"{name}.{inner}" for inner in outline(module))
        else:
            yield name


def finished(model: torch.nn.Module, seen: dict[str, Volume]) -> list[Volume]:
    """Those of the outline, without what only a normalisation or an activation function reads."""
    found = _outlined(model, seen)
    return [v for v, after in zip(found, _following(found), strict=True) if _is_finished(v, after)]


def choose(model: torch.nn.Module, seen: dict[str, Volume], most: int) -> list[Volume]:
    """At most so many volumes of the outline, the last among them.

    If all are too many, those that are not `finished` are left out; then all but the last of each
    size; then every other one.
    """
    found = _outlined(model, seen)
    if len(found) > most:
        found = finished(model, seen)
    if len(found) > most:
        pairs = zip(found, _following(found), strict=True)
        found = [v for v, after in pairs if _is_last_of_its_size(v, after)]
    if len(found) > most:
        found = [found[round(i * (len(found) - 1) / max(1, most - 1))] for i in range(most)]
    return found


def _outlined(model: torch.nn.Module, seen: dict[str, Volume]) -> list[Volume]:
    """From the first layer with filters on, and without pooling that changes nothing."""
    found = [seen[name] for name in outline(model) if name in seen]
    first = next((i for i, volume in enumerate(found) if volume.has_filters), 0)
    return found[first : first + 1] + [
        volume
        for before, volume in pairwise(found[first:])
        if not (volume.is_pooled and before.x.shape == volume.x.shape)
    ]


def _following(found: list[Volume]) -> list[Volume | None]:
    return [*found[1:], None]


def _is_finished(volume: Volume, after: Volume | None) -> bool:
    if after is None or after.x.shape != volume.x.shape:
        return True
    return after.has_filters or after.is_pooled


def _is_last_of_its_size(volume: Volume, after: Volume | None) -> bool:
    return after is None or volume.x.dim() == 2 or after.x.shape[2:] != volume.x.shape[2:]
