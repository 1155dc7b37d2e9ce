"""One row of the table, measured: errors, times and memory of our layer and of what it replaces."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

import torch
from torch import Tensor

import layers

from . import accuracy, memory
from .names import OURS, THEIRS
from .peers import PEERS, LocalReference
from .setting import Setting
from .shapes import Growth, Row
from .timing import Ratio, Runnable, Side, Times, interleave

LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
THEIRS_LAST = f"{THEIRS} channels_last"


@dataclass
class Measured:
    """Of one row.  Sides are "ours", "torch.nn" and peers; where one is missing, so is its key."""

    row: Row
    errors: dict[str, dict[str, float]] = field(default_factory=dict)  # by side, then by tensor
    second: dict[str, float] = field(default_factory=dict)  # of our second derivatives, by tensor
    times: dict[str, Times] = field(default_factory=dict)
    peak: dict[str, float] = field(default_factory=dict)  # bytes, with the input and parameters
    kept: dict[str, tuple[int, int]] = field(default_factory=dict)  # see memory.kept
    output: tuple[int, ...] = ()  # its shape

    def ratio(self, rival: str = THEIRS, part: str = "both") -> Ratio | None:
        """Our time over another's, or None where it was not timed."""
        if rival not in self.times:
            return None
        return Ratio.of(getattr(self.times[OURS], part), getattr(self.times[rival], part))

    def within(self, tolerance: float) -> bool:
        """Whether each of our errors is; NaN is not."""
        ours = self.errors.get(OURS, {})
        return all(e <= tolerance for e in (*ours.values(), *self.second.values()))


def measure(row: Row, setting: Setting) -> Measured:
    """A row of the table, everything about it."""
    ours, theirs = build(row)
    found = price(row, ours, theirs, setting)
    if row.layer != "Dropout" or (setting.device.type == "cpu" and not setting.compile):
        # Elsewhere, the same seed does not draw the same mask.
        _judge(found, ours, theirs, setting)
    return found


def price(
    row: Row, ours: torch.nn.Module, theirs: torch.nn.Module | None, setting: Setting
) -> Measured:
    """Time and memory."""
    found, sides = Measured(row), _sides(row, ours, theirs, setting)
    found.times = interleave(sides, setting.seconds)
    for name, side in sides.items():
        if isinstance(side, Side):
            held = memory.bytes_of(side.leaves)
            found.peak[name] = held + memory.peak(side.run, setting.device)
            found.kept[name] = memory.kept(side.layer, side.inputs)
            found.output = tuple(side.dy.shape)
    if THEIRS_LAST in sides:
        _keep_the_better_layout(found)
    return found


def build(row: Row) -> tuple[torch.nn.Module, torch.nn.Module | None]:
    """Our layer and torch.nn's with the same parameters; None where there is no such twin."""
    kind = getattr(layers, row.layer)
    torch.manual_seed(0)
    ours = kind(*row.arguments, **row.options, **row.ours)
    if not hasattr(torch.nn, row.layer):
        return ours, None
    theirs = getattr(torch.nn, row.layer)(*row.arguments, **row.options)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def _inputs(row: Row, setting: Setting, layout: torch.memory_format | None = None) -> list[Tensor]:
    """The row's input, and the targets if it is a loss."""
    image = setting.leaf(setting.numbers(row.shape, seed=0), layout)
    if row.layer != "CrossEntropyLoss":
        return [image]
    count, classes = row.shape
    return [image, torch.arange(count, device=setting.device) % classes]


def _judge(
    found: Measured, ours: torch.nn.Module, theirs: torch.nn.Module | None, setting: Setting
) -> None:
    """Errors against float64: first derivatives at full size, second ones on a small input."""
    layout = LAYOUTS.get(found.row.layout)
    twin = theirs
    if twin is None:
        assert isinstance(ours, layers.LocallyConnected2d)
        twin = LocalReference(ours)
    exact_layer = setting.place(twin).double()
    inputs = _inputs(found.row, setting, layout)
    exact = accuracy.derivatives(exact_layer, accuracy.doubled(inputs), setting)
    for name, layer in ((OURS, ours), (THEIRS, theirs)):
        if layer is not None:
            placed = setting.compiled(setting.place(layer, layout))
            computed = accuracy.derivatives(placed, inputs, setting)
            found.errors[name] = accuracy.errors(computed, exact)
    inputs = _inputs(found.row.small(), setting, layout)
    found.second = accuracy.errors(
        # uncompiled: torch.compile has first derivatives only
        accuracy.second_derivatives(setting.place(ours, layout), inputs, setting),
        accuracy.second_derivatives(exact_layer, accuracy.doubled(inputs), setting),
    )


def _sides(
    row: Row, ours: torch.nn.Module, theirs: torch.nn.Module | None, setting: Setting
) -> dict[str, Runnable]:
    """Everything to be timed.  Without a layout of its own, a row has torch.nn in both."""

    def side(layer: torch.nn.Module, layout: torch.memory_format | None) -> Side:
        placed = setting.compiled(setting.place(layer, layout))
        return Side(placed, _inputs(row, setting, layout))

    own = LAYOUTS.get(row.layout)
    sides: dict[str, Runnable] = {OURS: side(ours, own)}
    if theirs is not None:
        sides[THEIRS] = side(theirs, own or LAYOUTS["NCHW"])
        if own is None and len(row.shape) == 4:
            sides[THEIRS_LAST] = side(theirs, LAYOUTS["NHWC"])
    for name in row.peers:
        peer = PEERS[name](setting.place(ours, LAYOUTS["NCHW"]), _inputs(row, setting)[0])
        if peer is not None:
            sides[name] = peer
    return sides


def _keep_the_better_layout(found: Measured) -> None:
    """torch.nn is what the better of its two layouts takes, for each of the figures."""
    both = found.times[THEIRS], found.times.pop(THEIRS_LAST)
    found.times[THEIRS] = Times(
        min((times.forward for times in both), key=median),
        min((times.both for times in both), key=median),
    )
    found.peak[THEIRS] = min(found.peak[THEIRS], found.peak.pop(THEIRS_LAST))
    found.kept[THEIRS] = min(found.kept[THEIRS], found.kept.pop(THEIRS_LAST))


def grow(growth: Growth, setting: Setting) -> dict[str, Ratio]:
    """The larger input's time over the smaller's, for the same amount of work: 1 is flat."""
    pairs: dict[str, Runnable] = {}
    for name, place in ((OURS, 0), (THEIRS, 1)):
        for size, row in (("small", growth.small), ("large", growth.large)):
            layer = build(row)[place]
            assert layer is not None
            placed = setting.compiled(setting.place(layer))
            pairs[f"{name} {size}"] = Side(placed, _inputs(row, setting))
    times = interleave(pairs, setting.seconds)
    return {
        name: Ratio.of(
            [seconds / growth.factor for seconds in times[f"{name} large"].both],
            times[f"{name} small"].both,
        )
        for name in (OURS, THEIRS)
    }
