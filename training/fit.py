"""A whole training run: from options to a trained network and its test accuracy."""

from __future__ import annotations

import dataclasses
import random
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Subset

import models

from . import checkpoint, data
from .command_line import run_folder
from .errors import UserError, unknown
from .loop import Evaluation, Learner, evaluate, train_one_epoch
from .options import Options, save_yaml
from .preprocess import Preprocess
from .progress import described, say, table
from .schedule import scheduler
from .tensorboard import Board

SHOWN_MISTAKES = 32


def fit(options: Options) -> dict[str, float]:
    """Train, validate after every epoch, keep last.pt and best.pt, test the best once at the end.

    Returns:
        the final metrics, as in hparams.
    Raises:
        UserError: anything the user can mend; what earlier epochs wrote is kept.
    """
    device = choose_device(options.device)
    train_set, classes = data.load(options, "train")
    val_set, _ = data.load(options, "val")
    pin = device.type == "cuda"
    size, workers = options.batch_size, options.workers
    train = data.loader(train_set, size, shuffle=True, workers=workers, pin=pin)
    val = data.loader(val_set, size, workers=workers, pin=pin)

    seed_everything(options.seed)
    learner = new_learner(options, len(classes), len(train), device)
    state = None
    if options.resume is not None:
        folder = run_folder(options.resume)
        state = resume(learner, folder / "last.pt")
        options = dataclasses.replace(options, name=folder.name, logdir=folder.parent)
    else:
        folder = new_folder(options)
        options = dataclasses.replace(options, name=folder.name)
    save_yaml(dataclasses.replace(options, resume=None), folder / "config.yaml")
    board = Board(folder, learner.step if state else None)
    announce(options, folder, learner, len(train_set), len(val_set))
    start, first, best = time.monotonic(), 0, -1.0
    if state is None:
        show_inputs(board, options, learner, train_set)
    else:
        first, best = state["epoch"], state["best"]
        checkpoint.restore_random_state(state["random"])
    try:
        for epoch in range(first, options.epochs):
            label = f"epoch {epoch + 1}/{options.epochs}"
            trained = train_one_epoch(learner, train, board, label, options.log_every)
            seen = evaluate(
                learner.model, learner.criterion, learner.preprocess, val, device, "validation"
            )
            say(
                f"{label}  train {described(trained.described())}  "
                f"val loss {seen.loss:.4f}  acc {seen.acc1:.2%}"
            )
            board.epoch(learner.step, epoch + 1, learner.model, trained, seen)
            improved, best = seen.acc1 > best, max(best, seen.acc1)
            if improved:
                show_mistakes(board, learner.step, seen, val_set, classes)
            for name in ("last.pt", "best.pt") if improved else ("last.pt",):
                checkpoint.save(
                    folder / name,
                    options,
                    model=learner.model.state_dict(),
                    optimizer=learner.optimizer.state_dict(),
                    scheduler=learner.scheduler.state_dict(),
                    random=checkpoint.random_state(),
                    epoch=epoch + 1,
                    step=learner.step,
                    best=best,
                    classes=classes,
                    metrics={"loss": seen.loss, "acc1": seen.acc1},
                )
        metrics = test(options, learner, folder, best)
        board.finish(options, metrics, learner.step)
    finally:
        board.close()
    rows = [(name.replace("_", " "), shown(name, value)) for name, value in metrics.items()]
    rows += [("time", f"{time.monotonic() - start:.0f} s"), ("checkpoint", f"{folder}/best.pt")]
    say("\n" + table(rows) + f"\n\n  tensorboard --logdir {options.logdir}")
    return metrics


def choose_device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda, but torch finds no GPU here: use --device cpu or auto")
    return torch.device(name)


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def new_model(options: Options, num_classes: int) -> torch.nn.Module:
    """
    Raises:
        UserError: no such network, or images too small for it.
    """
    if options.model not in models.MODELS:
        raise unknown("model", options.model, models.MODELS)
    try:
        return models.build(
            options.model,
            nn=models.LAYER_SETS[options.layers],
            num_classes=num_classes,
            in_channels=len(options.mean),
            image_size=options.image_size,
        ).to(getattr(torch, options.dtype))
    except ValueError as error:
        raise UserError(f"--model {options.model}: {error}; use a larger --image-size") from None


def new_learner(options: Options, num_classes: int, steps: int, device: torch.device) -> Learner:
    """A fresh network with its loss, optimiser and schedule; `steps` in an epoch."""
    model = new_model(options, num_classes).to(device)
    criterion = models.criterion(model, models.LAYER_SETS[options.layers], options.label_smoothing)
    optimizer: torch.optim.Optimizer
    if options.optimizer == "sgd":
        optimizer = torch.optim.SGD(
            model.parameters(), options.lr, options.momentum, weight_decay=options.weight_decay
        )
    else:
        optimizer = torch.optim.AdamW(
            model.parameters(), options.lr, (options.momentum, 0.999),
            weight_decay=options.weight_decay,
        )  # fmt: skip
    return Learner(
        model,
        criterion.to(device),
        Preprocess(options).to(device),
        optimizer,
        scheduler(optimizer, options, steps),
        device,
    )


def resume(learner: Learner, path: Path) -> dict:
    """Put a learner where the checkpoint's was."""
    _, state = checkpoint.load(path)
    learner.model.load_state_dict(state["model"])
    learner.optimizer.load_state_dict(state["optimizer"])
    learner.scheduler.load_state_dict(state["scheduler"])
    learner.step = state["step"]
    return state


def new_folder(options: Options) -> Path:
    """A folder no other run has: a given name must be free, the default one is numbered."""
    if options.name:
        folder = options.logdir / options.name
        if folder.exists():
            raise UserError(
                f"{folder} already exists: continue it with --resume {folder}, or choose another "
                "--name"
            )
    else:
        base = options.logdir / f"{options.model}-{options.data}"
        folder, number = base, 2
        while folder.exists():
            folder, number = base.with_name(f"{base.name}-{number}"), number + 1
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UserError(
            f"cannot create {folder} ({error.strerror}): choose another --logdir"
        ) from None
    return folder


def announce(options: Options, folder: Path, learner: Learner, train: int, val: int) -> None:
    parameters = sum(p.numel() for p in learner.model.parameters() if p.requires_grad)
    rows = [
        ("model", f"{options.model}, {parameters:,} parameters, {options.layers} layers"),
        ("data", f"{options.data}, {train:,} training and {val:,} validation images"),
        ("device", f"{learner.device}, {options.dtype}"),
        ("run", str(folder)),
    ]
    say(table(rows) + "\n")


def show_inputs(
    board: Board, options: Options, learner: Learner, dataset: Subset | data.InMemory
) -> None:
    """The first training images, before and after preprocessing; leaves the generators alone."""
    images, _ = next(iter(data.loader(dataset, 64)))
    with torch.random.fork_rng():
        x = learner.preprocess.train()(images.to(learner.device))
    board.start(options, learner.model.eval(), images, x)


def show_mistakes(
    board: Board, step: int, seen: Evaluation, dataset: Subset | data.InMemory, classes: list[str]
) -> None:
    wrong = (seen.predictions != seen.targets).nonzero().flatten()[:SHOWN_MISTAKES]
    images = [dataset[int(index)][0].float() / 255 for index in wrong]
    stacked = torch.stack(images) if images else torch.zeros(0, 1, 1, 1)
    board.mistakes(step, seen, stacked, wrong, classes)


def test(options: Options, learner: Learner, folder: Path, best: float) -> dict[str, float]:
    """The test images, once, with the weights that were best on the validation images."""
    _, state = checkpoint.load(folder / "best.pt")
    learner.model.load_state_dict(state["model"])
    dataset, _ = data.load(options, "test")
    batches = data.loader(dataset, options.batch_size, workers=options.workers)
    result = evaluate(
        learner.model, learner.criterion, learner.preprocess, batches, learner.device, "test"
    )
    return {
        "test_accuracy": result.acc1,
        "test_error": 1 - result.acc1,
        "test_loss": result.loss,
        "best_val_accuracy": best,
        "best_epoch": state["epoch"],
    }


def shown(name: str, value: float) -> str:
    if "accuracy" in name or "error" in name:
        return f"{value:.2%}"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
