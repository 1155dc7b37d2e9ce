"""The volumes of a network: what every layer makes of an image, and which of them to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
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


@torch.no_grad()
def volumes(model: torch.nn.Module, x: Tensor) -> tuple[dict[str, Volume], Tensor]:
    """Every volume between the images x and the network's output, in order, and that output.

    Of a network of the residual or Inception kind, both those of its blocks and those within them.
    """
    seen: dict[str, Volume] = {}
    calls: Counter[str] = Counter()
    hooks = []

    def keep(name: str) -> Callable[..., None]:
        def hook(module: torch.nn.Module, inputs: tuple, output: object) -> None:
            calls[name] += 1
            full = name if calls[name] == 1 else f"{name}#{calls[name]}"
            if isinstance(output, Tensor):
                seen[full] = Volume(full, module, output)

        return hook

    for name, module in model.named_modules():
        if name and not isinstance(module, UNSEEN):
            hooks.append(module.register_forward_hook(keep(name)))
    try:
        output = model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return seen, output


def outline(model: torch.nn.Module) -> Iterator[str]:
    """The layers of the network, and its blocks as one: what a diagram of it would show."""
    for name, module in model.named_children():
        if isinstance(module, torch.nn.Sequential):
            yield from (f"{name}.{inner}" for inner in outline(module))
        else:
            yield name


def choose(model: torch.nn.Module, seen: dict[str, Volume], most: int) -> list[Volume]:
    """At most so many volumes of the outline, the last among them.

    If all are too many, those go first that are only the input of a normalisation or of an
    activation function; then all but the last of each size; then every other one.
    """
    found = [seen[name] for name in outline(model) if name in seen]
    first = next((i for i, volume in enumerate(found) if volume.has_filters), 0)
    found = found[first:]
    for is_kept in (_is_finished, _is_last_of_its_size):
        if len(found) > most:
            pairs = zip(found, [*found[1:], None], strict=True)
            found = [volume for volume, after in pairs if is_kept(volume, after)]
    if len(found) <= most:
        return found
    return [found[round(i * (len(found) - 1) / max(1, most - 1))] for i in range(most)]


def _is_finished(volume: Volume, after: Volume | None) -> bool:
    if after is None or after.x.shape != volume.x.shape:
        return True
    return after.has_filters or isinstance(after.module, POOLING)


def _is_last_of_its_size(volume: Volume, after: Volume | None) -> bool:
    return after is None or volume.x.dim() == 2 or after.x.shape[2:] != volume.x.shape[2:]
