"""Our layers against torch.nn's, over a whole network: the same numbers, and at what price."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor
from torch.utils.benchmark import Timer

import layers
import models


@dataclass
class Parity:
    """Of one network; errors are relative to the largest number compared."""

    logits: float
    gradients: float
    trajectory: float  # of the losses of `STEPS` training steps
    ratios: list[float]  # custom / torch, time of a training step, one for each repetition
    milliseconds: tuple[float, float]  # of a training step: custom, torch

    def within(self, tolerance: float) -> bool:
        """Whether every error is; NaN is not."""
        return all(e <= tolerance for e in (self.logits, self.gradients, self.trajectory))

    @property
    def ratio(self) -> float:
        return median(self.ratios)


STEPS = 20  # of the trajectory


def compare(name: str, batch_size: int, threads: int, repetitions: int = 7) -> Parity:
    """Build the network twice from the same weights, and train both on the same random images.

    Args:
        name: a key of `models.MODELS`.
        batch_size: images per step.
        threads: for the timing; torch.utils.benchmark's own default is 1.
        repetitions: of the timing; the two networks are timed in turn, so that a machine that
            slows down slows both.
    """
    ours, theirs = (models.build(name, nn=nn) for nn in (layers, torch.nn))
    theirs.load_state_dict(ours.state_dict())
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch_size, 1, 32, 32, generator=generator)
    targets = torch.randint(10, (batch_size,), generator=generator)
    steps = [Step(ours, layers, x, targets), Step(theirs, torch.nn, x, targets)]

    logits = error(ours(x), theirs(x))
    for step in steps:
        step.loss().backward()
    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    gradients = torch.tensor([error(a.grad, b.grad) for a, b in pairs]).max().item()  # keeps NaN
    losses = [torch.tensor([step() for _ in range(STEPS)]) for step in steps]
    times: list[list[float]] = [[], []]
    for _ in range(repetitions):
        for step, found in zip(steps, times, strict=True):
            timer = Timer("step()", globals={"step": step}, num_threads=threads)
            found.append(timer.blocked_autorange(min_run_time=1).median)
    ratios = [a / b for a, b in zip(*times, strict=True)]
    milliseconds = (median(times[0]) * 1e3, median(times[1]) * 1e3)
    return Parity(logits, gradients, error(*losses), ratios, milliseconds)


def error(a: Tensor | None, b: Tensor | None) -> float:
    """Largest difference, relative to the largest number."""
    assert a is not None
    assert b is not None
    return ((a - b).abs().max() / b.abs().max()).item()


class Step:
    """One training step: forward, loss, backward, SGD with momentum."""

    def __init__(self, model: torch.nn.Module, nn, x: Tensor, targets: Tensor) -> None:
        self.model, self.x, self.targets = model, x, targets
        self.criterion = models.criterion(model, nn)
        self.optimizer = torch.optim.SGD(model.parameters(), 1e-4, 0.9)

    def loss(self) -> Tensor:
        return self.criterion(self.model(self.x), self.targets)

    def __call__(self) -> float:
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        self.optimizer.step()
        return loss.item()
