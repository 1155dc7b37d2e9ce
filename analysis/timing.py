"""Interleaved timing: all sides run in turn, so that a change in machine load affects all alike.

Each round runs every side once, or several times if it is short, and gives one ratio.  The result
is the median over the rounds; the spread omits the lowest and highest tenth, since a few out of
hundreds of rounds are always interrupted.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping, Sequence
from statistics import median, quantiles
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

MIN_SECONDS = 0.01  # per side and round: shorter runs are repeated
MIN_ROUNDS = 3


def timer(device: torch.device) -> float:
    """The time in seconds after synchronising with the device.

    The same as `torch.utils.benchmark.timer`, whose import may warn about missing compilers.
    """
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


class Runnable(Protocol):
    def run(self) -> tuple[float, float]:
        """Run once; seconds of the forward pass, and in total."""


class TimedLayer:
    """A layer with its inputs; a run is a forward and a backward pass."""

    def __init__(self, layer: torch.nn.Module, inputs: Sequence[Tensor]) -> None:
        """
        Args:
            inputs: the first one requires a gradient.
        """
        self.layer, self.inputs = layer, inputs
        self.leaves = [inputs[0], *layer.parameters()]
        # In the memory format of the output, as the following layer would return it.
        self.dy = torch.randn_like(self.forward().detach())

    def forward(self) -> Tensor:
        return self.layer(*self.inputs)

    def run(self) -> tuple[float, float]:
        device = self.dy.device
        start = timer(device)
        y = self.forward()
        middle = timer(device)
        torch.autograd.grad(y, self.leaves, self.dy)
        return middle - start, timer(device) - start


class Times(NamedTuple):
    """Seconds, one value per round."""

    forward: list[float]
    total: list[float]


class Ratio(NamedTuple):
    """Of two times: the median over the rounds, and the spread."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        tenths = quantiles(ratios, n=10, method="inclusive") if len(ratios) > 1 else ratios
        return cls(median(ratios), tenths[0], tenths[-1])

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.low:.2f} to {self.high:.2f})"


def interleave(sides: Mapping[str, Runnable], seconds: float) -> dict[str, Times]:
    """Run the sides in turn, for at least `seconds` and `MIN_ROUNDS` rounds."""
    repeats = {}
    for name, side in sides.items():
        side.run()  # warm-up
        repeats[name] = max(1, round(MIN_SECONDS / side.run()[1]))
    times = {name: Times([], []) for name in sides}
    gc.disable()  # as timeit does
    try:
        start = time.perf_counter()
        while len(times[name].total) < MIN_ROUNDS or time.perf_counter() - start < seconds:
            for name, side in sides.items():
                runs = [side.run() for _ in range(repeats[name])]
                times[name].forward.append(median(forward for forward, _ in runs))
                times[name].total.append(median(total for _, total in runs))
    finally:
        gc.enable()
    return times
