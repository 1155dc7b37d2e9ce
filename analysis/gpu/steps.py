"""Training steps of networks, ours and torch.nn's, each in the better of two memory formats.

The losses of two steps are compared, without dropout, whose masks may differ; these steps also warm
up.  Then both memory formats are timed, and the better ones of the two sides run in turn.
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

from ..benchmark import MEMORY_FORMATS
from ..benchmark_config import to_memory_format
from ..names import OURS, THEIRS
from ..parity import dropouts
from .clock import milliseconds
from .precision import PRECISION_ORDER, autocast, float32_products, set_cudnn_benchmark
from .rows import Row

SECONDS = 1.0  # of timing on a GPU, per row
MIN_ROUNDS = 3


class Network(NamedTuple):
    name: str
    batch: int
    shape: tuple[int, int, int]  # of an image
    classes: int
    tiny: int  # pixels in a dry run; 0 if the network is too large for one


NETWORKS = [
    Network("lenet", 512, (1, 32, 32), 10, 32),
    Network("alexnet", 256, (3, 224, 224), 1000, 0),
    Network("vgg16", 64, (3, 224, 224), 1000, 0),
    Network("allcnn_c", 256, (3, 32, 32), 10, 32),
    Network("googlenet", 128, (3, 224, 224), 1000, 47),
    Network("resnet50", 128, (3, 224, 224), 1000, 0),
]


def rows(device: str, tiny: bool) -> list[Row]:
    networks = [_shrink(n) for n in NETWORKS if n.tiny] if tiny else NETWORKS
    chosen = ("bf16",) if tiny else PRECISION_ORDER
    return [
        (f"{network.name}/{p}", partial(measure, network, p, device))
        for p in chosen
        for network in networks
    ]


def _shrink(network: Network) -> Network:
    return network._replace(batch=2, shape=(network.shape[0], network.tiny, network.tiny))


def measure(network: Network, precision: str, device: str) -> dict[str, Any]:
    """Losses, milliseconds and bytes of a network by side, and the ratio of the times."""
    torch.backends.cudnn.benchmark = False
    torch.manual_seed(0)
    x = torch.randn(network.batch, *network.shape, device=device)
    targets = torch.randint(network.classes, (network.batch,), device=device)
    measured: dict[str, StepMeasurement] = {}
    with float32_products(precision):
        for side, nn in ((OURS, layers), (THEIRS, torch.nn)):
            for name, memory_format in MEMORY_FORMATS.items():
                step = TrainingStep(network, nn, x, targets, precision, memory_format)
                measured[f"{side} {name}"] = StepMeasurement.of(step, device)
        best = {side: _fastest(measured, side) for side in (OURS, THEIRS)}
        set_cudnn_benchmark(precision)  # only now: it is too slow for both memory formats
        before = measured[best[THEIRS]]
        again = StepMeasurement.of(before.step, device)
        measured[best[THEIRS]] = again._replace(loss=before.loss)
        readings = _interleave([measured[name].step for name in best.values()], device)
    ours, theirs = (measured[name].loss for name in best.values())
    nchw, nhwc = (measured[f"{THEIRS} {name}"].loss for name in MEMORY_FORMATS)
    times = {side: median(found) for side, found in zip(best, readings, strict=True)}
    return {
        "network": network.name,
        "precision": precision,
        "images": network.batch,
        "best": best,
        "ratio": median(a / b for a, b in zip(*readings, strict=True)),
        "images/s": {side: 1e3 * network.batch / ms for side, ms in times.items()},
        "ms": {name: m.ms for name, m in measured.items()}
        | {best[side]: ms for side, ms in times.items()},
        "peak": {name: m.peak for name, m in measured.items()},
        "losses": {name: m.loss for name, m in measured.items()},
        "loss difference": abs(ours - theirs) / abs(theirs),
        "torch.nn's own": abs(nchw - nhwc) / abs(nchw),  # between its memory formats
    }


class StepMeasurement(NamedTuple):
    """A training step after a few runs."""

    step: TrainingStep
    loss: float  # of the second step
    ms: float
    peak: int  # bytes, including images and weights; 0 on a CPU, which does not count

    @classmethod
    def of(cls, step: TrainingStep, device: str) -> StepMeasurement:
        on_gpu = device == "cuda"
        others = torch.cuda.memory_allocated() - step.bytes if on_gpu else 0
        loss = step.second_loss()
        if on_gpu:  # only now: at first cuDNN tries algorithms with larger workspaces
            torch.cuda.reset_peak_memory_stats()
        ms = min(milliseconds(step, device) for _ in range(2))
        peak = torch.cuda.max_memory_allocated() - others if on_gpu else 0
        step.optimizer.zero_grad()
        return cls(step, loss, ms, peak)


def _fastest(measured: dict[str, StepMeasurement], side: str) -> str:
    names = (name for name in measured if name.startswith(side))
    return min(names, key=lambda name: measured[name].ms)


def _interleave(steps: list[TrainingStep], device: str) -> list[list[float]]:
    """Milliseconds of each step, one value per round."""
    seconds = SECONDS if device == "cuda" else 0.0
    rounds: list[list[float]] = []
    start = time.monotonic()
    while len(rounds) < MIN_ROUNDS or time.monotonic() - start < seconds:
        rounds.append([milliseconds(step, device) for step in steps])
    return [list(found) for found in zip(*rounds, strict=True)]


class TrainingStep:
    """Forward, loss, backward, SGD with momentum, without synchronising with the GPU."""

    def __init__(
        self, network: Network, nn: Any, x: Tensor, targets: Tensor, precision: str,
        memory_format: torch.memory_format,
    ) -> None:  # fmt: skip
        torch.manual_seed(0)
        channels, _, pixels = network.shape
        with torch.device(x.device):
            self.model = models.build(
                network.name, nn=nn, num_classes=network.classes, in_channels=channels,
                image_size=pixels,
            )  # fmt: skip
            self.criterion = models.criterion(self.model, nn)
        self.model.to(memory_format=memory_format)
        self.x, self.targets = to_memory_format(x, memory_format), targets
        self.precision = precision
        self.optimizer = torch.optim.SGD(self.model.parameters(), 1e-3, 0.9)
        parameters = list(self.model.parameters())
        self.bytes = sum(t.numel() * t.element_size() for t in (self.x, *parameters))

    def loss(self) -> Tensor:
        with autocast(self.precision, self.x.device.type):
            output = self.model(self.x)
            custom = hasattr(self.model, "criterion")  # takes the outputs of all classifiers
            return self.criterion(output if custom else models.logits(output), self.targets)

    def __call__(self) -> None:
        self.optimizer.zero_grad()
        self.loss().backward()
        self.optimizer.step()

    def second_loss(self) -> float:
        """The loss after one step, which depends on every gradient; without dropout."""
        disabled = [(dropout, dropout.p) for dropout in dropouts(self.model)]
        for dropout, _ in disabled:
            dropout.p = 0.0
        self()
        loss = self.loss().item()
        for dropout, p in disabled:
            dropout.p = p
        return loss
