"""A run while it trains: its options, its data, where it stands, and what it writes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Subset

from .checkpoints import checkpoint
from .data.batches import training_batches
from .data.images import contents
from .loop import Diverged, TrainingPass
from .monitor.meter import Meter
from .monitor.tensorboard import Board
from .options import Options, checkpoint_interval, ended_by
from .processes.distributed import gather_objects, is_writer, rank, world_size
from .randomness import DROPOUT, Draws, seed_of
from .train_state import TrainState


@dataclass
class Run:
    options: Options
    folder: Path
    train_set: Subset
    val_set: Subset
    classes: list[str]
    state: TrainState
    board: Board
    epoch: int = 0  # epochs that are done
    batch: int = 0  # batches of the next one that are
    meter: Meter = field(default_factory=Meter)  # of those batches
    best: list[float] = field(default_factory=lambda: [-1.0, -math.inf])  # accuracy, minus loss
    best_epoch: int = 0
    metrics: dict[str, float] = field(default_factory=dict)  # of the last validation
    saved_at: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> bool:
        """Whether nothing is left to train."""
        return ended_by(self.options, self.epoch, self.state.step, self.best_epoch) is not None

    def training_pass(self) -> TrainingPass:
        """What is left of the next epoch."""
        options, epoch = self.options, self.epoch + 1
        limit = options.limit_steps
        left = None if limit is None else limit - self.state.step
        batches = training_batches(
            self.train_set, options, epoch, first=self.batch, count=left,
            smallest=self.state.smallest_batch(), smallest_share=self.state.smallest_share(),
            pin=self.pin,
        )  # fmt: skip
        draws = Draws(len(self.train_set.dataset), options.seed, epoch)  # type: ignore[arg-type]
        steps = self.batch + len(batches)
        later = (options.epochs - epoch) * steps
        if left is not None:
            later = min(later, left - len(batches))
        shared = len(self.train_set) if world_size() > 1 else None
        return TrainingPass(batches, epoch, draws, self.batch, self.meter, shared, later)

    @property
    def pin(self) -> bool:
        """Whether batches go to another memory than the processor's."""
        return self.state.device.type not in ("cpu", "mps")

    def is_time_to_save(self) -> bool:
        """Whether --checkpoint-every asks for a checkpoint now, within an epoch."""
        minutes, steps = checkpoint_interval(self.options.checkpoint_every)
        if steps is not None:
            return self.state.step % steps == 0
        return minutes is not None and time.monotonic() - self.saved_at >= 60 * minutes

    def save(self, *names: str) -> None:
        """Checkpoints of where the run stands, written one after the other.

        All processes call it, and the writer writes.

        Raises:
            Diverged: numbers that are not finite would be kept.
        """
        if not all_finite(self.state.model):
            raise Diverged(self.state.step)
        self.meter.synchronize()
        if not math.isfinite(self.meter.loss_sum):
            raise Diverged(self.state.step)
        random = gather_objects(checkpoint.random_state())
        self.saved_at = time.monotonic()
        if not is_writer():
            return
        self.board.flush()  # the curves are on the disk before the checkpoint that follows them
        for name in names:
            checkpoint.save(self.folder / name, self.options, **self.state_dict(random))
        if self.options.keep:
            checkpoint.keep(self.folder, self.state.step, self.options.keep)

    def state_dict(self, random: list[dict[str, Any]]) -> dict[str, Any]:
        """
        Args:
            random: where the generators of every process stand.
        """
        meter = self.meter
        return {
            **self.state.state_dict(),
            "random": random[0],
            "random_of_others": random[1:],
            "epoch": self.epoch,
            "batch": self.batch,
            "sums": [meter.loss_sum, meter.correct, meter.seen],
            "best": self.best,
            "best_epoch": self.best_epoch,
            "classes": self.classes,
            "images": contents(self.train_set, self.val_set),
            "metrics": self.metrics,
        }

    def continue_from(self, saved: dict[str, Any]) -> None:
        """Where training stood, but for the `TrainState`, which has been loaded."""
        self.epoch, self.batch = saved["epoch"], saved["batch"]
        self.meter = Meter(*saved["sums"])
        self.best, self.best_epoch = saved["best"], saved["best_epoch"]
        self.metrics = saved["metrics"]
        random = [saved["random"], *saved.get("random_of_others", [])]
        if rank() < len(random):
            checkpoint.restore_random_state(random[rank()])
        else:
            self.draw_dropout_anew()

    def draw_dropout_anew(self) -> None:
        """Each process but the first from a generator of its own; the others' images are others."""
        if rank() > 0:
            torch.manual_seed(seed_of(self.options.seed, self.state.step, DROPOUT, rank()))


@torch.no_grad()
def all_finite(model: torch.nn.Module) -> bool:
    """Of parameters and buffers, read from their device at once."""
    tensors = [t for t in model.state_dict().values() if t.is_floating_point()]
    norms = torch._foreach_norm(tensors)
    return bool(torch.stack([norm.float() for norm in norms]).isfinite().all())
