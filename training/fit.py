"""A whole training run: from options to a trained network and its test accuracy."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from pathlib import Path

import torch
from torch.utils.data import Subset

import models
from layers.interop.precision import conv_precision
from models.pattern_network import PatternNetwork

from . import checkpoint, data
from .device import choose_device
from .errors import UserError
from .fine_tuning import load_weights
from .learner import Learner, load_model, new_learner, resume, seed_everything
from .loop import Diverged, evaluate, train_one_epoch
from .metrics import Evaluation
from .options import Options, save_yaml, write_text
from .progress import described, say, table
from .run_folder import continued_folder, new_folder
from .tensorboard import Board

SHOWN_MISTAKES = 32


def fit(options: Options) -> dict[str, float]:
    """Train, validate after every epoch, keep last.pt and best.pt, test the best once at the end.

    Returns:
        the final metrics, as in metrics.json and hparams.
    Raises:
        UserError: anything the user can mend; what earlier epochs wrote is kept.
    """
    with models.computing(options.layers):
        return _fit(options)


def _fit(options: Options) -> dict[str, float]:
    started = time.monotonic()
    device = choose_device(options.device, getattr(torch, options.dtype))
    (train_set, val_set), classes = data.load(options, "train", "val")
    pin = device.type not in ("cpu", "mps")  # whose memory is the processor's
    size, workers = options.batch_size, options.workers
    train = data.loader(train_set, size, shuffle=True, workers=workers, pin=pin)
    val = data.loader(val_set, size, workers=workers, pin=pin)

    seed_everything(options.seed)
    learner = new_learner(options, len(classes), len(train), device)
    folder, state = (None, None) if options.resume is None else continued_folder(options)
    origin = None
    if state is not None:
        resume(learner, state)
    elif options.weights:
        origin = load_weights(learner.model, options)
    if folder is None:
        folder = new_folder(options)
        options = dataclasses.replace(options, name=folder.name)
    else:
        (folder / "metrics.json").unlink(missing_ok=True)  # of fewer epochs
    save_yaml(dataclasses.replace(options, resume=None), folder / "config.yaml")
    board = Board(folder, learner.step if options.resume else None)
    announce(options, folder, learner, len(train_set), len(val_set), origin)
    epoch, best = (state["epoch"], state["best"]) if state else (0, [-1.0, -math.inf])
    if state is None:
        show_inputs(board, options, learner, train_set)
    else:
        checkpoint.restore_random_state(state["random"])
    try:
        while epoch < options.epochs:
            epoch += 1
            label = f"epoch {epoch}/{options.epochs}"
            trained = train_one_epoch(learner, train, board, label, options.log_every)
            seen = evaluate(learner, val, "validation")
            if not math.isfinite(seen.loss):
                raise Diverged(learner.step)
            say(
                f"{label}  train {described(trained.described())}  "
                f"val loss {seen.loss:.4f}  acc {seen.acc1:.2%}"
            )
            board.epoch(learner.step, epoch, learner.model, trained, seen)
            score = [seen.acc1, -seen.loss]  # of two epochs equally right, the surer one
            improved, best = score > best, max(score, best)
            if improved:
                show_mistakes(board, learner.step, seen, val_set, classes)
            board.flush()  # the curves are on the disk before the checkpoint that follows them
            # The best one first: a crash in between only repeats this epoch.
            for name in ("best.pt", "last.pt") if improved else ("last.pt",):
                checkpoint.save(
                    folder / name,
                    options,
                    model=learner.model.state_dict(),
                    transform_input=getattr(learner.model, "transform_input", False),
                    optimizer=learner.optimizer.state_dict(),
                    scheduler=learner.scheduler.state_dict(),
                    random=checkpoint.random_state(),
                    epoch=epoch,
                    step=learner.step,
                    best=best,
                    classes=classes,
                    metrics={"loss": seen.loss, "acc1": seen.acc1},
                )
        metrics = test(options, learner, folder)
        board.finish(options, metrics, learner.step)
        write_text(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    except Diverged as error:
        raise UserError(advice(error, options, folder)) from None
    finally:
        board.close()
    rows = [(name.replace("_", " "), shown(name, value)) for name, value in metrics.items()]
    rows += [("time", f"{time.monotonic() - started:.0f} s"), ("checkpoint", f"{folder}/best.pt")]
    say("\n" + table(rows) + f"\n\n  tensorboard --logdir {options.logdir}")
    return metrics


def announce(
    options: Options, folder: Path, learner: Learner, train: int, val: int, origin: str | None
) -> None:
    parameters = sum(p.numel() for p in learner.model.parameters())
    trained = sum(p.numel() for p in learner.model.parameters() if p.requires_grad)
    frozen = f" ({trained:,} of them trained)" if trained < parameters else ""
    tensor_cores = learner.device.type == "cuda" and options.dtype == "float32"
    convolutions = f", convolutions in {conv_precision()}" if tensor_cores else ""
    rows = [
        ("model", f"{options.model}, {parameters:,} parameters{frozen}, {options.layers} layers"),
        *([("weights", origin)] if origin else []),
        ("data", f"{options.data}, {train:,} training and {val:,} validation images"),
        ("device", f"{learner.device}, {options.dtype}{convolutions}, {learner.memory_format}"),
        ("run", str(folder)),
    ]
    say(table(rows) + "\n")
    if isinstance(learner.model, PatternNetwork):
        say("\n".join(f"  {line}" for line in learner.model.describe()) + "\n")


def advice(error: Diverged, options: Options, folder: Path) -> str:
    kept = folder / "last.pt"
    return (
        f"the loss stopped being finite by step {error.step} with --lr {options.lr:g}"
        + (f"; {kept} keeps the last good epoch" if kept.exists() else "")
        + f": start a new run with --lr {options.lr / 10:g}, or a longer --warmup-epochs than "
        f"{options.warmup_epochs:g}"
    )


def show_inputs(board: Board, options: Options, learner: Learner, dataset: Subset) -> None:
    """The first training images, before and after preprocessing; leaves the generators alone."""
    random = checkpoint.random_state()
    images, _ = next(iter(data.loader(dataset, 64)))
    x = learner.preprocess.train()(images.to(learner.device))
    board.start(options, learner.model.eval(), images, x)
    checkpoint.restore_random_state(random)


def show_mistakes(
    board: Board, step: int, seen: Evaluation, dataset: Subset, classes: list[str]
) -> None:
    wrong = (seen.predictions != seen.targets).nonzero().flatten()[:SHOWN_MISTAKES]
    images = [dataset[int(index)][0].float() / 255 for index in wrong]
    stacked = torch.stack(images) if images else torch.zeros(0, 1, 1, 1)
    board.mistakes(step, seen, stacked, wrong, classes)


def test(options: Options, learner: Learner, folder: Path) -> dict[str, float]:
    """The test images, once, with the weights that were best on the validation images."""
    _, state = checkpoint.load(folder / "best.pt")
    load_model(learner.model, state)
    (dataset,), _ = data.load(options, "test")
    result = evaluate(
        learner, data.loader(dataset, options.batch_size, workers=options.workers), "test"
    )
    return {
        "test_accuracy": result.acc1,
        "test_error": 1 - result.acc1,
        "test_loss": result.loss,
        "best_val_accuracy": state["metrics"]["acc1"],
        "best_epoch": state["epoch"],
    }


def shown(name: str, value: float) -> str:
    if "accuracy" in name or "error" in name:
        return f"{value:.2%}"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
