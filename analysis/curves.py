"""Results of `compare.py train`: training curves of each layer set, and where they diverge."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, isnan, nan
from statistics import median
from typing import Any

import matplotlib
import torch
from matplotlib.figure import Figure

from .accuracy import NETWORK_TOLERANCE
from .table import Table
from .timing import Ratio

BASELINE = "torch"  # the layer set that the others are compared with
DIVERGED = 1e-3  # relative difference between the losses of a step
# Training amplifies rounding errors, tenfold in 40 steps of LeNet and in two or three of ResNet-20,
# with either layer set, so that eventually even float64 runs diverge.  In the first steps, only a
# wrong layer can be the cause.
FIRST_STEPS = 5


@dataclass
class Curves:
    """Training curves of one layer set; losses in nats."""

    images: int  # per epoch
    step_losses: list[float] = field(default_factory=list)  # of each step, before its update
    losses: list[float] = field(default_factory=list)  # training mean of each epoch
    val_losses: list[float] = field(default_factory=list)  # after each epoch
    val_accuracies: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # of training, in each epoch
    test_accuracy: float = nan  # with the final weights
    weights: float = nan  # error of the final weights, relative to the baseline's largest weight


@dataclass
class Divergence:
    """The difference between a layer set's training and the baseline's."""

    differences: list[float]  # of the loss of each step, relative to the baseline's
    weights: float  # see `Curves`

    @classmethod
    def of(cls, found: Curves, expected: Curves) -> Divergence:
        pairs = zip(found.step_losses, expected.step_losses, strict=True)
        return cls([_relative(a, b) for a, b in pairs], found.weights)

    def first_beyond(self, bound: float) -> int | None:
        """The first step, counted from 1, whose difference exceeds `bound`; None if none does."""
        beyond = (step for step, d in enumerate(self.differences, 1) if d > bound)
        return next(beyond, None)

    @property
    def largest(self) -> float:
        return max(self.differences)

    @property
    def early(self) -> float:
        """The largest difference in the first `FIRST_STEPS` steps."""
        return max(self.differences[:FIRST_STEPS])


@dataclass
class TrainingComparison:
    """The curves of every layer set, including the baseline's."""

    config: dict[str, object]  # plain values
    curves: dict[str, Curves]  # by layer set

    @property
    def divergences(self) -> dict[str, Divergence]:
        baseline = self.curves[BASELINE]
        return {
            name: Divergence.of(curves, baseline)
            for name, curves in self.curves.items()
            if name != BASELINE
        }

    @property
    def tolerance(self) -> float:
        """As for a network in float64 in `compare.py models`."""
        return NETWORK_TOLERANCE[torch.float64]

    @property
    def failed(self) -> list[str]:
        """Layer sets that differ from the baseline in the first steps, in float64."""
        if self.config["dtype"] != "float64":
            return []
        return [name for name, d in self.divergences.items() if d.early > self.tolerance]

    def ratio(self, name: str) -> Ratio:
        """The layer set's training time over the baseline's, epoch by epoch."""
        return Ratio.of(self.curves[name].seconds, self.curves[BASELINE].seconds)

    def tables(self) -> list[Table]:
        results = [
            [
                name, f"{c.losses[-1]:.4f}", f"{c.val_losses[-1]:.4f}",
                f"{c.val_accuracies[-1]:.2%}", f"{c.test_accuracy:.2%}", f"{sum(c.seconds):.1f}",
                f"{c.images / median(c.seconds):.0f}",
                "" if name == BASELINE else str(self.ratio(name)),
            ]
            for name, c in self.curves.items()
        ]  # fmt: skip
        diverging = [
            [
                name, f"{d.early:.0e}", _step_or_never(d.first_beyond(0)),
                _step_or_never(d.first_beyond(DIVERGED)), f"{d.largest:.0e}", f"{d.weights:.0e}",
            ]
            for name, d in self.divergences.items()
        ]  # fmt: skip
        steps = len(self.curves[BASELINE].step_losses)
        return [
            Table(
                f"After epoch {self.config['epochs']}: losses, accuracies; seconds of training, "
                f"images/s (median epoch), time over {BASELINE}'s (spread over the epochs)",
                ["", "train loss", "val loss", "val acc", "test acc", "s", "images/s", "ratio"],
                results,
            ),
            Table(
                f"Divergence from {BASELINE} in {self.config['dtype']}: training losses of "
                f"{steps} steps, difference over {BASELINE}'s loss; weights at the end, over the "
                "largest weight",
                [
                    "",
                    f"first {FIRST_STEPS} steps",
                    "first step not bit-equal",
                    f"first beyond {DIVERGED:g}",
                    "largest",
                    "weights",
                ],
                diverging,
            ),
        ]

    def document(self) -> dict[str, Any]:
        return {
            "setting": self.config,
            "rows": [self._flatten(name) for name in self.curves],
            "curves": {
                name: {
                    "step_losses": c.step_losses,
                    "losses": c.losses,
                    "val_losses": c.val_losses,
                    "val_accuracies": c.val_accuracies,
                    "seconds": c.seconds,
                }
                for name, c in self.curves.items()
            },
        }

    def _flatten(self, name: str) -> dict[str, Any]:
        c = self.curves[name]
        flat = {
            "layers": name,
            "loss": c.losses[-1],
            "val_loss": c.val_losses[-1],
            "val_accuracy": c.val_accuracies[-1],
            "test_accuracy": c.test_accuracy,
            "seconds": sum(c.seconds),
            "images_per_second": c.images / median(c.seconds),
        }
        if name in self.divergences:
            divergence = self.divergences[name]
            flat |= {f"ratio.{key}": value for key, value in self.ratio(name)._asdict().items()}
            flat |= {
                f"largest_difference_of_{FIRST_STEPS}_steps": divergence.early,
                "first_step_not_equal": divergence.first_beyond(0),
                f"first_step_beyond_{DIVERGED:g}": divergence.first_beyond(DIVERGED),
                "largest_difference": divergence.largest,
                "weights_difference": divergence.weights,
            }
        return flat

    def chart(self) -> Figure:
        """All curves over the steps; the baseline is wide and pale, to keep the others visible."""
        figure = Figure(figsize=(10, 7), layout="constrained")  # inches
        (training, differing), (validation, accuracy) = figure.subplots(2, 2, sharex=True)
        palette = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
        names = sorted(self.curves, key=lambda name: name != BASELINE)
        for name, colour in zip(names, palette, strict=False):
            c = self.curves[name]
            line = {"linewidth": 4, "alpha": 0.4} if name == BASELINE else {"linewidth": 1}
            style = {"color": colour, "label": name, **line}
            steps = range(1, len(c.step_losses) + 1)
            per_epoch = len(steps) // len(c.losses)
            epochs = range(per_epoch, len(steps) + 1, per_epoch)
            training.plot(steps, c.step_losses, **style)
            validation.plot(epochs, c.val_losses, marker=".", **style)
            accuracy.plot(epochs, c.val_accuracies, marker=".", **style)
            if name in self.divergences:
                differing.plot(steps, self.divergences[name].differences, **style)
        differing.axhline(DIVERGED, color="black", linewidth=0.8, linestyle=":")
        differing.set_yscale("log", nonpositive="mask")
        for axes, title in (
            (training, "training loss of each step"),
            (differing, f"its difference from {BASELINE}, relative"),
            (validation, "validation loss"),
            (accuracy, "validation accuracy"),
        ):
            axes.set_title(title)
            axes.grid(linewidth=0.3)
        for axes in (validation, accuracy):
            axes.set_xlabel("step")
        training.legend()
        figure.suptitle(" ".join(str(self.config[key]) for key in ("model", "data", "dtype")))
        return figure


def _relative(found: float, expected: float) -> float:
    """The relative difference; infinite if a loss is NaN."""
    if found == expected:
        return 0.0
    difference = abs(found - expected) / abs(expected) if expected else inf
    return inf if isnan(difference) else difference


def _step_or_never(step: int | None) -> str:
    return "never" if step is None else str(step)
