"""Times side by side: what is compared runs in turn, so that a machine that slows down slows all.

Every round runs each side once (for a few milliseconds), and a ratio is taken within a round; its
median over the rounds is the result.  The spread is from the lowest to the highest, a tenth of the
rounds left out at either end: among hundreds, some are always interrupted.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping, Sequence
from statistics import median, quantiles
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

BLOCK = 0.01  # seconds: what is shorter is repeated within its turn
ROUNDS = 3  # at least


def timer(device: torch.device) -> float:
    """The time in seconds, once the device has done what it was given.

    As torch.utils.benchmark's, whose import may warn about compilers that nobody asked for.
    """
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


class Runnable(Protocol):
    def run(self) -> tuple[float, float]:
        """One run: seconds of its first part (the forward pass), and of all of it."""


class Side:
    """A layer ready to run: forward, then the gradients of its input and its parameters."""

    def __init__(self, layer: torch.nn.Module, inputs: Sequence[Tensor]) -> None:
        """
        Args:
            inputs: the first wants its gradient.
        """
        self.layer, self.inputs = layer, inputs
        self.leaves = [inputs[0], *layer.parameters()]
        # An upstream gradient lies in memory as the output does: so a following layer returns it.
        self.dy = torch.randn_like(layer(*inputs).detach())

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
    """Seconds, one for each round."""

    forward: list[float]
    both: list[float]


class Ratio(NamedTuple):
    """Of times: the median over the rounds, and the spread."""

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
    """Run the sides in turn, until `seconds` are over and every side has had its rounds."""
    repeats = {}
    for name, side in sides.items():
        side.run()  # warm-up
        repeats[name] = max(1, round(BLOCK / side.run()[1]))
    times = {name: Times([], []) for name in sides}
    gc.disable()  # as timeit does
    try:
        start = time.perf_counter()
        while len(times[name].both) < ROUNDS or time.perf_counter() - start < seconds:
            for name, side in sides.items():
                runs = [side.run() for _ in range(repeats[name])]
                times[name].forward.append(median(forward for forward, _ in runs))
                times[name].both.append(median(both for _, both in runs))
    finally:
        gc.enable()
    return times
