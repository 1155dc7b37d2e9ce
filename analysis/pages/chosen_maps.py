"""Which maps of a large network a page has room for: those that vary most over the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ..walk import INPUT, Call
from .layer_kinds import Kind


def choose(
    calls: Sequence[Call], kinds: Mapping[str, Kind], outputs: Mapping[str, Tensor], most: int
) -> dict[str, list[int]]:
    """At most so many channels of every call, the one that varies most first; all of an image.

    Layers that work map by map have the same choice as their input, or a unit could not be traced
    through them, and so have the two inputs of an addition.
    """
    groups = _Groups()
    for call in calls:
        if kinds[call.name].same_maps:
            for name, shape in zip(call.inputs, call.in_shapes, strict=True):
                if call.shape is not None and shape[:2] == call.shape[:2]:
                    groups.join(name, call.name)
    last = {groups.of(name): name for name in outputs}
    chosen = {groups.of(INPUT): [*range(outputs[INPUT].shape[1])]}  # by group
    for call in calls:
        if kinds[call.name].kind == "concatenation":  # the maps that were chosen of its inputs
            offset, maps = 0, []
            for name, shape in zip(call.inputs, call.in_shapes, strict=True):
                before = chosen.get(groups.of(name)) or _varying(outputs[name], most)
                maps.append([channel + offset for channel in before])
                offset += shape[1]
            merged = [channel for rank in zip(*maps, strict=False) for channel in rank]
            chosen.setdefault(groups.of(call.name), merged[:most])
        else:
            group = groups.of(call.name)
            chosen.setdefault(group, _varying(outputs[last[group]], most))
    return {name: chosen[groups.of(name)] for name in outputs if groups.of(name) in chosen}


def _varying(x: Tensor, most: int) -> list[int]:
    """Channels of (N, C, H, W), or numbers of (N, D), which are taken by size."""
    spread = x.flatten(2).std(-1, correction=0) if x.dim() > 2 and x[0, 0].numel() > 1 else x.abs()
    return spread.flatten(1).mean(0).argsort(descending=True)[:most].tolist()


class _Groups:
    """Sets of names that are joined one by one."""

    def __init__(self) -> None:
        self.parent: dict[str, str] = {}

    def of(self, name: str) -> str:
        while name in self.parent:
            name = self.parent[name]
        return name

    def join(self, one: str, other: str) -> None:
        one, other = self.of(one), self.of(other)
        if one != other:
            self.parent[other] = one
