"""One network trained from one seed with each layer set: `compare.py train`.

The layer sets take turns epoch by epoch, so that a machine that slows down slows all.  Each finds
the generators of random numbers where it left them, and so trains as it would alone: `train.py`
with the same options draws the same curves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from torch.utils.tensorboard import SummaryWriter

import models
from analysis import accuracy
from analysis.benchmark_config import machine
from analysis.curves import BASELINE, Curves, TrainingComparison
from analysis.parity import dropouts

from .checkpoints import checkpoint
from .checkpoints.run_folder import new_folder
from .data import datasets
from .data.batches import evaluation_batches, training_batches
from .device import choose_device
from .errors import UserError
from .loop import Diverged, TrainingPass, evaluate, train_one_epoch
from .monitor.progress import described, say
from .options import Options
from .randomness import Draws, seed_everything
from .train_state import new_train_state


class UnequalStart(Exception):
    """Two layer sets drew different parameters from one seed: what follows would say nothing."""


class LayerSetTraining:
    """The training of one layer set, which pauses while the others train an epoch."""

    def __init__(self, options: Options, classes: int, train: Subset, val: DataLoader) -> None:
        self.layers, self.train, self.val = options.layers, train, val
        self.curves = Curves(len(train))
        seed_everything(options.seed)
        self.state = new_train_state(options, classes, len(train), torch.device(options.device))
        self.random = checkpoint.random_state()

    def training_step(self, step: int, loss: float, *_: object) -> None:
        """`train_one_epoch` calls this after every step."""
        self.curves.step_losses.append(loss)

    def epoch(self, number: int, label: str) -> None:
        """
        Raises:
            UserError: the loss is no longer finite.
        """
        checkpoint.restore_random_state(self.random)
        options, state = self.state.options, self.state
        batches = training_batches(self.train, options, number, smallest=state.smallest_batch())
        draws = Draws(len(self.train.dataset), options.seed, number)  # type: ignore[arg-type]
        training = TrainingPass(batches, number, draws)
        try:
            with models.computing(self.layers):
                trained = train_one_epoch(state, training, self, label, log_every=1)
                seen = evaluate(state, self.val, "validation")
            if not math.isfinite(seen.loss):
                raise Diverged(self.state.step)
        except Diverged as error:
            raise UserError(f"{self.layers} layers: {error}; try another --batch-size") from None
        self.random = checkpoint.random_state()
        say(
            f"{label}  train {described(trained.described())}  "
            f"val loss {seen.loss:.4f}  acc {seen.acc1:.2%}"
        )
        state.epoch_ended(seen.loss)
        self.curves.losses.append(trained.loss)
        self.curves.val_losses.append(seen.loss)
        self.curves.val_accuracies.append(seen.acc1)
        self.curves.seconds.append(self.curves.images / trained.images_per_second)

    def weights(self) -> Tensor:
        """All parameters as one vector."""
        return torch.cat([p.detach().flatten() for p in self.state.model.parameters()])


def compare(
    options: Options, layer_sets: Sequence[str] | None = None
) -> tuple[TrainingComparison, Path]:
    """Train `options.model` with several layer sets.

    Args:
        options: of a run of train.py; `layers` and `log_every` do not count.
        layer_sets: keys of `models.LAYER_SETS`, the baseline's among them; None for all.
    Returns:
        the curves, and the folder in which TensorBoard finds them, a run for each layer set.
    Raises:
        UserError: anything the user can mend.
        UnequalStart: the layer sets do not start from the same parameters.
    """
    device = choose_device(options.device, getattr(torch, options.dtype))
    (train_set, val_set), classes = datasets.load(options, "train", "val")
    (test_set,), _ = datasets.load(options, "test")
    size, workers = options.batch_size, options.workers
    val, test = (evaluation_batches(part, size, workers=workers) for part in (val_set, test_set))
    options = replace(options, device=str(device))
    trainings = {
        layers: LayerSetTraining(_with(layers, options), len(classes), train_set, val)
        for layers in layer_sets or models.LAYER_SETS
    }
    _start_equal(trainings.values())
    if device.type != "cpu":
        _without_dropout(trainings.values())
    folder = new_folder(options)
    boards = {layers: SummaryWriter(str(folder / layers)) for layers in trainings}
    width = max(map(len, trainings))
    for epoch in range(1, options.epochs + 1):
        for layers, training in trainings.items():
            training.epoch(epoch, f"epoch {epoch}/{options.epochs}  {layers:<{width}}")
            _draw(boards[layers], training.curves)
    for layers, training in trainings.items():
        boards[layers].close()
        with models.computing(layers):
            training.curves.test_accuracy = evaluate(training.state, test, "test").acc1
        training.curves.weights = accuracy.error(training.weights(), trainings[BASELINE].weights())
    setting = {key: getattr(options, key) for key in ("model", "data", "epochs", "batch_size")}
    setting |= {"seed": options.seed, "dtype": options.dtype}
    setting |= {"memory_format": trainings[BASELINE].state.memory_format, **machine(device)}
    curves = {layers: training.curves for layers, training in trainings.items()}
    return TrainingComparison(setting, curves), folder


def _with(layers: str, options: Options) -> Options:
    return replace(options, layers=layers)  # type: ignore[arg-type]  # a key of LAYER_SETS


def _start_equal(trainings: Iterable[LayerSetTraining]) -> None:
    """One seed must give every layer set the same parameters, under the same names."""
    first, *others = ((one.layers, one.state.model.state_dict()) for one in trainings)
    for layers, state in others:
        for name in [*first[1], *state]:
            ours, theirs = first[1].get(name), state.get(name)
            if ours is None or theirs is None or not torch.equal(ours, theirs):
                raise UnequalStart(
                    f"{first[0]} and {layers} layers do not draw the same {name} from one seed"
                )


def _without_dropout(trainings: Iterable[LayerSetTraining]) -> None:
    """An accelerator draws other masks for one layer set than for the other from the same seed."""
    found = dropouts(*(training.state.model for training in trainings))
    for dropout in found:
        dropout.p = 0.0
    if found:
        say("without dropout, whose masks differ here\n")


def _draw(board: SummaryWriter, curves: Curves) -> None:
    """The last epoch's points.  A curve has the same name for every layer set: one chart."""
    step = len(curves.step_losses)
    before = step - step // len(curves.losses)
    for at, loss in enumerate(curves.step_losses[before:], before + 1):
        board.add_scalar("loss/training", loss, at)
    board.add_scalar("loss/validation", curves.val_losses[-1], step)
    board.add_scalar("accuracy/validation", curves.val_accuracies[-1], step)
    board.flush()
