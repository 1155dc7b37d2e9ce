"""One epoch of training, and one evaluation: the two loops everything else is built around."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Sized
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

import models

from .fine_tuning import train_mode
from .monitor.meter import Meter
from .monitor.metrics import Evaluation, Metrics, Recorder
from .monitor.progress import Progress
from .processes.distributed import gather, no_sync, rank, sharers, synchronize_buffers, world_size
from .randomness import MIXTURE, Draws, drawing_from
from .train_state import TrainState


class Diverged(Exception):
    """The loss is no longer finite; nothing since the last checkpoint is worth keeping."""

    def __init__(self, step: int) -> None:
        super().__init__(f"the loss was not finite by step {step}")
        self.step = step


class Batches(Sized, Iterable, Protocol):
    """(images uint8 (N, C, S, S), classes int64 (N), which images int64 (N)), as often as len."""


@dataclass
class TrainingPass:
    """A pass over the training images, or what is left of one."""

    batches: Batches
    epoch: int = 1
    draws: Draws | None = None  # random numbers for every image of the data set
    done: int = 0  # batches of this epoch that were trained on before
    meter: Meter = field(default_factory=Meter)  # which has seen those
    images: int | None = None  # of the epoch, shared by several processes; else None
    later: int = 0  # batches of the epochs after this one

    def images_of(self, batch: int, here: int, batch_size: int) -> int:
        """Of a batch, over all processes; this one has those `here`."""
        return (
            here if self.images is None else min(batch_size, self.images - (batch - 1) * batch_size)
        )


def train_one_epoch(
    state: TrainState,
    training: TrainingPass,
    recorder: Recorder,
    label: str,
    log_every: int,
    after_step: Callable[[int], None] | None = None,
) -> Metrics:
    """One pass over the training images, in the order of the batches.

    Args:
        after_step: called after every step with the number of batches done in this epoch.
    Raises:
        Diverged: the loss is no longer finite.
        ValueError: there is no batch.
    """
    if not len(training.batches):
        raise ValueError("there are no images to train on: the data loader is empty")
    train_mode(state.model)
    state.preprocess.train()
    meter, before, start = training.meter, training.meter.seen, time.perf_counter()
    total = training.done + len(training.batches)
    progress = Progress(training.batches, total, label, training.done, training.later)
    for batch, (images, targets, which) in enumerate(progress, training.done + 1):
        draws = None if training.draws is None else training.draws.rows(which, state.device)
        position = state.options.seed, training.epoch, MIXTURE, batch
        rates = {g.get("curve", "learning_rate"): g["lr"] for g in state.optimizer.param_groups}
        whole = training.images_of(batch, len(images), state.options.batch_size)
        loss, correct = train_step(state, images, targets, draws, position, whole)
        meter.update(loss, correct)
        if state.step % log_every == 0 or batch == total:
            mean_loss, acc1 = meter.read()
            if not math.isfinite(mean_loss):
                raise Diverged(state.step)
            seconds = time.perf_counter() - start
            speed, waiting = (meter.seen - before) / seconds, progress.waited / seconds
            metrics = Metrics(mean_loss, acc1, speed, waiting)
            step = Meter()
            step.update(loss, correct)
            recorder.training_step(state.step, *step.read(), rates, state.model, metrics)
            progress.show(batch, **metrics.in_detail())
        if after_step is not None:
            after_step(batch)
    return metrics


def train_step(
    state: TrainState,
    images: Tensor,
    targets: Tensor,
    draws: Draws | None = None,
    position: tuple[int, ...] = (),
    whole: int | None = None,
) -> tuple[Tensor, Tensor]:
    """One update of the weights, by the gradient of the mean loss over the images of all processes.

    A network may have a method `after_step`, which is called after every update (ZFNet's keeps
    its filters small).

    Args:
        images: uint8, (N, C, S, S).
        targets: their classes, int64, (N).
        draws: the random numbers that the images are changed by, a row for each.
        position: where the mixture of the batch draws from.
        whole: images of all processes; by default those given.
    Returns:
        the mean loss over the images given, and whether each one's largest logit is its class, (N).
    """
    whole = len(images) if whole is None else whole
    targets = targets.to(state.device, non_blocking=True)
    x = state.preprocess(images.to(state.device, non_blocking=True), draws)
    truth = targets
    if state.mixture is not None and len(x):
        with drawing_from(*position, *[rank()] * (rank() > 0)):
            x, truth = state.mixture(x, targets)
        truth = truth.to(x.dtype)
    state.optimizer.zero_grad()
    parts, smallest = state.options.accumulate, state.smallest_share()
    if parts > 1:  # the last batch may be too small for so many
        parts = max(1, min(parts, whole // sharers(whole, smallest) // smallest))
    losses, answers = [], []
    splits = zip(x.tensor_split(parts), truth.tensor_split(parts), strict=True)
    for part, (some_x, some_truth) in enumerate(splits, 1):
        with nullcontext() if part == parts else no_sync(state.forward):
            with state.autocast():
                output = state.forward(some_x)
                loss = mean_loss(state, output, some_truth)
            losses.append(loss.detach() * (len(some_x) / max(1, len(x))))
            # The mean over the batch is the weighted mean over its parts; of the gradients of the
            # processes, the mean is taken.
            weight = world_size() * len(some_x) / whole
            state.scaler.scale(loss if weight == 1 else loss * weight).backward()
        answers.append(models.logits(output).detach().argmax(1))
    _update(state)
    loss = losses[0] if parts == 1 else torch.stack(losses).sum()
    return loss, (answers[0] if parts == 1 else torch.cat(answers)) == targets


def mean_loss(state: TrainState, output: Any, truth: Tensor) -> Tensor:
    """Of no images it is 0, and its gradients are."""
    if len(truth):
        return state.criterion(output, truth)
    outputs = [output] if isinstance(output, Tensor) else output
    return torch.stack([one.sum() for one in outputs if one is not None]).sum()


def _update(state: TrainState) -> None:
    """The optimiser's step, by the gradients that are there."""
    clip_norm, scaler = state.options.clip_norm, state.scaler
    if clip_norm is not None:
        scaler.unscale_(state.optimizer)
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), clip_norm)
    scale = scaler.get_scale()
    scaler.step(state.optimizer)  # not if a scaled gradient has overflowed
    scaler.update()
    state.skipped += scaler.get_scale() < scale
    if scaler.is_enabled():  # a first step that was skipped is no mistake
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
            state.scheduler.step()
    else:
        state.scheduler.step()
    after_step = getattr(state.model, "after_step", None)
    if after_step is not None:
        after_step()
    if state.ema is not None:
        state.ema.update_parameters(state.model)
    state.step += 1


@torch.no_grad()
def evaluate(
    state: TrainState, batches: Batches, label: str, network: torch.nn.Module | None = None
) -> Evaluation:
    """The network's logits for all images of a loader, without augmentation or dropout.

    Of several processes, each has a share of the images; loss and accuracy are those of all, and
    the writer has all logits.

    Args:
        network: by default the state's own; or that one in a frame, as for several crops.
    Raises:
        ValueError: the loader is empty.
    """
    model: Any = (state.evaluated if network is None else network).eval()
    synchronize_buffers(model)
    state.preprocess.eval()
    meter, all_logits, all_targets = Meter(), [], []
    start = time.perf_counter()
    batches_seen = Progress(batches, len(batches), label)
    for images, targets, _ in batches_seen:
        targets = targets.to(state.device, non_blocking=True)
        x = state.preprocess(images.to(state.device, non_blocking=True))
        with state.autocast():
            logits = model(x)
            loss = mean_loss(state, logits, targets)
        meter.update(loss, logits.argmax(1) == targets)
        all_logits.append(logits)
        all_targets.append(targets)
    mean, acc1 = meter.read()
    logits, targets = (gather(torch.cat(parts).cpu()) for parts in (all_logits, all_targets))
    seconds = time.perf_counter() - start
    speed, waiting = meter.seen / seconds, batches_seen.waited / seconds
    return Evaluation(mean, acc1, speed, waiting, logits, targets)
