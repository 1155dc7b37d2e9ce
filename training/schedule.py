"""The learning rate as a function of the step alone, so that a resumed run finds its place."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from .options import Options

PATIENCE = 10  # epochs without a lower validation loss before a plateau's rate is divided


def scheduler(optimizer: Optimizer, options: Options, steps_per_epoch: int) -> LambdaLR:
    """To be stepped after every optimiser step."""
    steps = options.epochs * steps_per_epoch
    if options.limit_steps is not None:
        steps = min(steps, options.limit_steps)
    warmup = round(options.warmup_epochs * steps_per_epoch)

    def factor(step: int, floor: float) -> float:
        """What the highest learning rate is multiplied by before step number `step`, from 0."""
        rise = min(1.0, (step + 1) / (warmup + 1))
        if options.schedule == "one-cycle":
            return max(floor, one_cycle(step / steps, peak=warmup / steps if warmup else 0.3))
        if step < warmup:
            return rise
        if options.schedule == "step":
            passed = sum(step >= milestone * steps for milestone in options.milestones)
            return max(floor, 0.1**passed)
        if options.schedule == "plateau":
            return 1.0  # `plateau` lowers it
        return max(floor, half_cosine((step - warmup) / max(1, steps - warmup)))

    def above(floor: float) -> Callable[[int], float]:
        return lambda step: factor(step, floor)

    highest = [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]
    return LambdaLR(optimizer, [above(options.min_lr / lr) for lr in highest])


def half_cosine(progress: float) -> float:
    """From 1 at progress 0 to 0 at progress 1."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def one_cycle(progress: float, peak: float = 0.3, low: float = 0.04, end: float = 4e-6) -> float:
    """Up from `low` to 1 until `peak`, then down to `end`, both along a cosine.

    The bounds are those of torch's OneCycleLR; Smith & Topin 2017, "Super-Convergence".
    """
    if progress < peak:
        return 1 - (1 - low) * half_cosine(progress / peak)
    return end + (1 - end) * half_cosine((progress - peak) / max(1 - peak, 1e-9))


def plateau(optimizer: Optimizer, options: Options) -> ReduceLROnPlateau | None:
    """What divides the rate by 10, told every epoch's validation loss; None for other schedules."""
    if options.schedule != "plateau":
        return None
    return ReduceLROnPlateau(optimizer, factor=0.1, patience=PATIENCE, min_lr=options.min_lr)
