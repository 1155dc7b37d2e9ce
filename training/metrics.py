"""Metrics of a pass over some images, and the interface that records them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass
class Metrics:
    """Of one pass over some images."""

    loss: float  # mean over the images, nats
    acc1: float  # fraction of correct predictions
    images_per_second: float

    def described(self) -> dict[str, str]:
        return {
            "loss": f"{self.loss:.4f}",
            "acc": f"{self.acc1:.2%}",
            "images/s": f"{self.images_per_second:.0f}",
        }


@dataclass
class Evaluation(Metrics):
    logits: Tensor  # (N, num_classes), on the CPU
    targets: Tensor  # (N)

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
