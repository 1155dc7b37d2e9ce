"""One epoch of training, and one evaluation: the two loops everything else is built around."""

from __future__ import annotations

import math
import time

import torch
from torch.utils.data import DataLoader

import models

from .fine_tuning import train_mode
from .learner import Learner
from .meter import Meter
from .metrics import Evaluation, Figures, Recorder
from .progress import Progress


class Diverged(Exception):
    """The loss is no longer finite; nothing of this epoch is worth keeping."""

    def __init__(self, step: int) -> None:
        super().__init__(f"the loss was not finite by step {step}")
        self.step = step


def train_one_epoch(
    learner: Learner, batches: DataLoader, board: Recorder, label: str, log_every: int
) -> Figures:
    """One pass over the training images, in the loader's order.

    A network may have a method `after_step`, which is called after every update (ZFNet's keeps
    its filters small).

    Raises:
        Diverged: the loss is no longer finite.
        ValueError: the loader is empty.
    """
    if not len(batches):
        raise ValueError("there are no images to train on: the data loader is empty")
    train_mode(learner.model)
    learner.preprocess.train()
    meter, start = Meter(), time.perf_counter()
    after_step = getattr(learner.model, "after_step", None)
    progress = Progress(batches, len(batches), label)
    for batch, (images, targets) in enumerate(progress, 1):
        targets = targets.to(learner.device, non_blocking=True)
        x = learner.preprocess(images.to(learner.device, non_blocking=True))
        output = learner.model(x)
        loss = learner.criterion(output, targets)
        learner.optimizer.zero_grad()
        loss.backward()
        rates = {g.get("curve", "learning_rate"): g["lr"] for g in learner.optimizer.param_groups}
        learner.optimizer.step()
        learner.scheduler.step()
        if after_step is not None:
            after_step()

        learner.step += 1
        correct = models.logits(output).detach().argmax(1) == targets
        meter.update(loss, correct)
        if learner.step % log_every == 0 or batch == len(batches):
            mean_loss, acc1 = meter.read()
            if not math.isfinite(mean_loss):
                raise Diverged(learner.step)
            figures = Figures(mean_loss, acc1, meter.seen / (time.perf_counter() - start))
            accuracy = correct.sum().item() / len(correct)
            board.training_step(learner.step, loss.item(), accuracy, rates, learner.model, figures)
            progress.show(batch, **figures.described())
    return figures


@torch.no_grad()
def evaluate(learner: Learner, batches: DataLoader, label: str) -> Evaluation:
    """The network's logits for all images of a loader, without augmentation or dropout.

    Raises:
        ValueError: the loader is empty.
    """
    learner.model.eval()
    learner.preprocess.eval()
    meter, all_logits, all_targets = Meter(), [], []
    start = time.perf_counter()
    for images, targets in Progress(batches, len(batches), label):
        targets = targets.to(learner.device, non_blocking=True)
        logits = learner.model(learner.preprocess(images.to(learner.device, non_blocking=True)))
        meter.update(learner.criterion(logits, targets), logits.argmax(1) == targets)
        all_logits.append(logits)
        all_targets.append(targets)
    loss, acc1 = meter.read()
    logits, targets = torch.cat(all_logits).cpu(), torch.cat(all_targets).cpu()
    seconds = time.perf_counter() - start
    return Evaluation(loss, acc1, len(targets) / seconds, logits, targets)
