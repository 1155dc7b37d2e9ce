"""Metrics of a pass over some images, and the interface that records them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

NOTABLE_WAIT = 0.1


@dataclass
class Metrics:
    """Of one pass over some images."""

    loss: float  # mean over the images, nats
    acc1: float  # fraction of correct predictions
    images_per_second: float
    loader_wait: float = 0.0  # part of the time in which the step waited for its images

    def described(self) -> dict[str, str]:
        shown = {
            "loss": f"{self.loss:.4f}",
            "acc": f"{self.acc1:.2%}",
            "images/s": f"{self.images_per_second:.0f}",
        }
        if self.loader_wait > NOTABLE_WAIT:
            shown["waiting for images"] = f"{self.loader_wait:.0%}"
        return shown

    def in_detail(self) -> dict[str, str]:
        """With the images/s of the step and of the loader, each alone."""
        return {
            **self.described(),
            "step": f"{self.step_speed:.0f}/s",
            "loader": f"{self.loader_speed:.0f}/s",
            "waiting for images": f"{self.loader_wait:.0%}",
        }

    @property
    def step_speed(self) -> float:
        """Images/s if they were always there."""
        return self.images_per_second / max(1 - self.loader_wait, 1e-9)

    @property
    def loader_speed(self) -> float:
        """Images/s that come while the step waits: of the loader alone without --workers, which
        else load on while the step computes."""
        return self.images_per_second / max(self.loader_wait, 1e-9)


@dataclass
class Evaluation(Metrics):
    logits: Tensor = field(default_factory=lambda: torch.zeros(0, 1))  # (N, classes), on the CPU
    targets: Tensor = field(default_factory=lambda: torch.zeros(0).long())  # (N)

    @property
    def predictions(self) -> Tensor:
        return self.logits.argmax(1)

    def accuracy(self, k: int) -> float:
        """Fraction of the images whose true class is among the k largest logits."""
        k = min(k, self.logits.shape[1])
        correct = self.logits.topk(k, 1).indices == self.targets[:, None]
        return correct.any(1).double().mean().item()


class Recorder(Protocol):
    """Receives training steps as they happen, as TensorBoard's `Board` does."""

    def training_step(
        self,
        step: int,
        loss: float,
        acc1: float,
        rates: dict[str, float],
        model: torch.nn.Module,
        metrics: Metrics,
        /,
    ) -> None:
        """One step's own loss and accuracy, its learning rates by the curve's name, and the
        metrics of the epoch so far."""
