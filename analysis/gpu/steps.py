"""Training steps of whole networks: ours and torch.nn's, each in the better of its two layouts.

For two steps without dropout, whose masks may differ, the losses are compared; those steps also
warm up.  Then both layouts are tried, and the better ones of the two sides run in turn.
"""

from __future__ import annotations

import time
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

import layers
import models

from ..benchmark import LAYOUTS
from ..names import OURS, THEIRS
from ..parity import dropouts
from ..setting import laid_out
from .clock import milliseconds
from .precision import FIRST_TO_LAST, autocast, float32_products, search
from .rows import Row

SECONDS = 1.0  # of timing, each row of a GPU
ROUNDS = 3  # at least


class Network(NamedTuple):
    name: str
    batch: int
    shape: tuple[int, int, int]  # of an image
    classes: int
    tiny: int  # pixels in a dry run; 0 where the weights are too many for one


NETWORKS = [
    Network("lenet", 512, (1, 32, 32), 10, 32),
    Network("alexnet", 256, (3, 224, 224), 1000, 0),
    Network("vgg16", 64, (3, 224, 224), 1000, 0),
    Network("allcnn_c", 256, (3, 32, 32), 10, 32),
    Network("googlenet", 128, (3, 224, 224), 1000, 47),
    Network("resnet50", 128, (3, 224, 224), 1000, 0),
]


def rows(device: str, tiny: bool) -> list[Row]:
    networks = [_small(n) for n in NETWORKS if n.tiny] if tiny else NETWORKS
    chosen = ("bf16",) if tiny else FIRST_TO_LAST
    return [
        (f"{network.name}/{p}", partial(measure, network, p, device))
        for p in chosen
        for network in networks
    ]


def _small(network: Network) -> Network:
    return network._replace(batch=2, shape=(network.shape[0], network.tiny, network.tiny))


def measure(network: Network, precision: str, device: str) -> dict[str, Any]:
    """Of one network: losses, milliseconds and bytes by side, and the ratio of the times."""
    torch.backends.cudnn.benchmark = False
    torch.manual_seed(0)
    x = torch.randn(network.batch, *network.shape, device=device)
    targets = torch.randint(network.classes, (network.batch,), device=device)
    tried: dict[str, Tried] = {}
    with float32_products(precision):
        for side, nn in ((OURS, layers), (THEIRS, torch.nn)):
            for name, layout in LAYOUTS.items():
                step = TrainingStep(network, nn, x, targets, precision, layout)
                tried[f"{side} {name}"] = Tried.of(step, device)
        best = {side: _fastest(tried, side) for side in (OURS, THEIRS)}
        search(precision)  # not for a layout that will not be taken: it takes its time
        before = tried[best[THEIRS]]
        tried[best[THEIRS]] = Tried.of(before.step, device)._replace(loss=before.loss)
        readings = _in_turn([tried[name].step for name in best.values()], device)
    ours, theirs = (tried[name].loss for name in best.values())
    first, last = (tried[f"{THEIRS} {name}"].loss for name in LAYOUTS)
    times = {side: median(found) for side, found in zip(best, readings, strict=True)}
    return {
        "network": network.name,
        "precision": precision,
        "images": network.batch,
        "best": best,
        "ratio": median(a / b for a, b in zip(*readings, strict=True)),
        "images/s": {side: 1e3 * network.batch / ms for side, ms in times.items()},
        "ms": {name: one.ms for name, one in tried.items()}
        | {best[side]: ms for side, ms in times.items()},
        "peak": {name: one.peak for name, one in tried.items()},
        "losses": {name: one.loss for name, one in tried.items()},
        "loss difference": abs(ours - theirs) / abs(theirs),
        "torch.nn's own": abs(first - last) / abs(first),  # from one layout to the other
    }


class Tried(NamedTuple):
    """A step that has run a few times."""

    step: TrainingStep
    loss: float  # of the second step
    ms: float
    peak: int  # bytes, with its images and weights; 0 on a CPU, which does not count them

    @classmethod
    def of(cls, step: TrainingStep, device: str) -> Tried:
        on_gpu = device == "cuda"
        others = torch.cuda.memory_allocated() - step.bytes if on_gpu else 0
        loss = step.second_loss()
        if on_gpu:  # not before: cuDNN tries algorithms that it then rejects
            torch.cuda.reset_peak_memory_stats()
        ms = min(milliseconds(step, device) for _ in range(2))
        peak = torch.cuda.max_memory_allocated() - others if on_gpu else 0
        step.optimizer.zero_grad()
        return cls(step, loss, ms, peak)


def _fastest(tried: dict[str, Tried], side: str) -> str:
    return min((name for name in tried if name.startswith(side)), key=lambda n: tried[n].ms)


def _in_turn(steps: list[TrainingStep], device: str) -> list[list[float]]:
    """Milliseconds of each, one for each round."""
    seconds = SECONDS if device == "cuda" else 0.0
    rounds: list[list[float]] = []
    start = time.monotonic()
    while len(rounds) < ROUNDS or time.monotonic() - start < seconds:
        rounds.append([milliseconds(step, device) for step in steps])
    return [list(found) for found in zip(*rounds, strict=True)]


class TrainingStep:
    """Forward, loss, backward, SGD with momentum; nothing in it waits for the GPU."""

    def __init__(
        self, network: Network, nn: Any, x: Tensor, targets: Tensor, precision: str,
        layout: torch.memory_format,
    ) -> None:  # fmt: skip
        torch.manual_seed(0)
        channels, _, pixels = network.shape
        with torch.device(x.device):
            self.model = models.build(
                network.name, nn=nn, num_classes=network.classes, in_channels=channels,
                image_size=pixels,
            )  # fmt: skip
            self.criterion = models.criterion(self.model, nn)
        self.model.to(memory_format=layout)
        self.x, self.targets = laid_out(x, layout), targets
        self.precision = precision
        self.optimizer = torch.optim.SGD(self.model.parameters(), 1e-3, 0.9)
        parameters = list(self.model.parameters())
        self.bytes = sum(t.numel() * t.element_size() for t in (self.x, *parameters))

    def loss(self) -> Tensor:
        with autocast(self.precision, self.x.device.type):
            output = self.model(self.x)
            own = hasattr(self.model, "criterion")  # a loss of the paper's, for all its heads
            return self.criterion(output if own else models.logits(output), self.targets)

    def __call__(self) -> None:
        self.optimizer.zero_grad()
        self.loss().backward()
        self.optimizer.step()

    def second_loss(self) -> float:
        """The loss after one step, both without dropout: it depends on every gradient."""
        disabled = [(dropout, dropout.p) for dropout in dropouts(self.model)]
        for dropout, _ in disabled:
            dropout.p = 0.0
        self()
        loss = self.loss().item()
        for dropout, p in disabled:
            dropout.p = p
        return loss
