"""A run as TensorBoard shows it.

Three event files lie in the run's folder: train/ and val/ hold curves of the same names, which
TensorBoard draws on shared axes; the folder itself holds pictures, text, graph and hparams.
Everything is plotted over optimiser steps, so a resumed run purges what came after its checkpoint
and continues the same curves.
"""

from __future__ import annotations

import functools
import json
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams
from torchvision.utils import make_grid

from ..memory.machine import used
from ..options import Options, to_dict
from . import plots
from .metrics import Evaluation, Metrics
from .progress import say

FIRST_COLUMNS = "model", "layers", "lr", "batch_size", "data"  # five, as many as it shows
MAX_DRAWN = 500  # layers; a graph of more is drawn for minutes


_excepthook_before = threading.excepthook


def _excepthook(failure: threading.ExceptHookArgs) -> None:
    """A writer's thread keeps its error for `tolerant`; it need not print it, too."""
    if not (isinstance(failure.thread, _AsyncWriterThread) and failure.exc_type is OSError):
        _excepthook_before(failure)


threading.excepthook = _excepthook


def tolerant(write: Callable[..., None]) -> Callable[..., None]:
    """A run goes on without its curves where they cannot be written; that is said once."""

    @functools.wraps(write)
    def attempt(self: Board, *args: Any, **kwargs: Any) -> None:
        if self.failed:
            return
        try:
            write(self, *args, **kwargs)
        except OSError as error:
            self.failed = True
            warnings.warn(
                f"TensorBoard's events cannot be written to {self.folder} ({error.strerror}): "
                "the run goes on without them",
                stacklevel=2,
            )

    return attempt


def remove_events(folder: Path) -> None:
    """Of a run that was killed before its first checkpoint: it starts again."""
    for part in (folder, folder / "train", folder / "val"):
        for path in part.glob("events.out.tfevents.*"):
            path.unlink()


def _with_first_columns(summary: Any) -> Any:
    """The table of hparams opens on the columns whose values are said to differ, by name."""
    metadata = summary.value[0].metadata.plugin_data
    content = HParamsPluginData.FromString(metadata.content)
    for info in content.experiment.hparam_infos:
        info.differs = info.name in FIRST_COLUMNS
    metadata.content = content.SerializeToString()
    return summary


class Board:
    def __init__(
        self, folder: Path, resume_step: int | None = None, *, writes: bool = True
    ) -> None:
        """
        Args:
            folder: of the run.
            resume_step: steps taken when the checkpoint was written; later events are purged.
            writes: else nothing is written, as another process writes it.
        """
        purge = None if resume_step is None else resume_step + 1
        self.folder, self.failed = folder, not writes
        if not writes:
            return
        self.run = SummaryWriter(str(folder), purge_step=purge)
        self.train = SummaryWriter(str(folder / "train"), purge_step=purge)
        self.val = SummaryWriter(str(folder / "val"), purge_step=purge)

    @tolerant
    def start(self, options: Options, model: torch.nn.Module, images: Tensor, x: Tensor) -> None:
        """Options as text, a grid of inputs as the network sees them, and its graph."""
        text = "\n".join(f"    {key}: {value}" for key, value in to_dict(options).items())
        self.run.add_text("options", text, 0)
        self.run.add_image("inputs/original", make_grid(images[:64], nrow=8), 0)
        self.run.add_image("inputs/preprocessed", make_grid(x[:64], nrow=8, normalize=True), 0)
        layers = sum(not [*module.children()] for module in model.modules())
        if layers > MAX_DRAWN:
            say(f"  TensorBoard's graph is left out: {layers:,} layers would take minutes\n")
            return
        with warnings.catch_warnings():  # the writer traces with torch.jit, which warns
            warnings.simplefilter("ignore")
            self.run.add_graph(model, x[:1])

    @tolerant
    def network(self, summary: str) -> None:
        """The network's layers, as text of one width."""
        self.run.add_text("network", "\n".join(f"    {line}" for line in summary.splitlines()), 0)

    @tolerant
    def training_step(
        self,
        step: int,
        loss: float,
        acc1: float,
        rates: dict[str, float],
        model: torch.nn.Module,
        metrics: Metrics,
    ) -> None:
        """One step's own loss and accuracy; images/s is the mean of the epoch so far.

        Args:
            rates: the learning rate of each group of parameters, by the curve's name.
        """
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        self.train.add_scalar("step/loss", loss, step)
        self.train.add_scalar("step/accuracy", acc1, step)
        for name, rate in rates.items():
            self.train.add_scalar(f"step/{name}", rate, step)
        self.train.add_scalar("step/gradient_norm", torch.nn.utils.get_total_norm(grads), step)
        self.train.add_scalar("step/images_per_second", metrics.images_per_second, step)
        self.train.add_scalar("step/loader_wait", metrics.loader_wait, step)
        self.train.add_scalar("step/images_per_second_of_step", metrics.step_speed, step)
        self.train.add_scalar("step/images_per_second_of_loader", metrics.loader_speed, step)

    @tolerant
    def epoch(
        self,
        step: int,
        epoch: int,
        model: torch.nn.Module,
        train: Metrics,
        val: Evaluation,
        best: float,
        seconds: float,
        histograms: bool,
    ) -> None:
        """
        Args:
            best: the highest validation accuracy so far.
            seconds: that the epoch took.
            histograms: of weights and gradients, too: as much as a checkpoint, every epoch.
        """
        for writer, result in ((self.train, train), (self.val, val)):
            writer.add_scalar("epoch/loss", result.loss, step)
            writer.add_scalar("epoch/accuracy", result.acc1, step)
        self.val.add_scalar("epoch/accuracy_top5", val.accuracy(5), step)
        self.val.add_scalar("epoch/best_accuracy", best, step)
        self.train.add_scalar("epoch/number", epoch, step)
        self.train.add_scalar("epoch/seconds", seconds, step)
        self.train.add_scalar("epoch/loader_wait", train.loader_wait, step)
        self.train.add_scalar("epoch/memory_gb", used(next(model.parameters()).device) / 1e9, step)
        for name, parameter in model.named_parameters() if histograms else ():
            self.run.add_histogram(f"weights/{name}", parameter, step)
            if parameter.grad is not None and parameter.grad.isfinite().all():  # else fp16 skipped
                self.run.add_histogram(f"gradients/{name}", parameter.grad, step)
        first = next((p for p in model.parameters() if p.dim() == 4), None)
        if first is not None:
            grid = make_grid(plots.filters(first), nrow=8, pad_value=1)
            self.run.add_image("filters", grid, step)

    @tolerant
    def mistakes(
        self, step: int, val: Evaluation, images: Tensor, indices: Tensor, classes: list[str]
    ) -> None:
        """The misclassified validation images, and the confusion matrix.

        Args:
            images: those at `indices`, (n, C, S, S) in [0, 1].
        """
        pairs = zip(val.targets[indices].tolist(), val.predictions[indices].tolist(), strict=True)
        names = dict(enumerate(classes))  # the network may have more scores than there are classes
        titles = [plots.mistake(names[t], str(names.get(guess, guess))) for t, guess in pairs]
        self.run.add_figure("misclassified", plots.mistakes(images, titles), step)
        self.run.add_figure(
            "confusion_matrix", plots.confusion(val.predictions, val.targets, classes), step
        )

    @tolerant
    def finish(self, options: Options, metrics: dict[str, float], step: int) -> None:
        """The options as hparams beside the final metrics."""
        plain = to_dict(options)
        plain = {key: plain[key] for key in FIRST_COLUMNS} | plain  # what runs differ in
        values = {
            key: value if isinstance(value, bool | int | float | str) else json.dumps(value)
            for key, value in plain.items()
            if key not in ("resume", "logdir", "name")
        }
        named = {f"final/{name}": value for name, value in metrics.items()}
        writer = self.run._get_file_writer()
        experiment, *session = hparams(values, named)
        for summary in (_with_first_columns(experiment), *session):
            writer.add_summary(summary)
        for name, value in named.items():
            self.run.add_scalar(name, value, step)

    @tolerant
    def flush(self) -> None:
        for writer in (self.run, self.train, self.val):
            writer.flush()

    @tolerant
    def close(self) -> None:
        for writer in (self.run, self.train, self.val):
            writer.close()
