"""The folder of a run: a new one, or one to continue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models.pattern import is_pattern

from . import checkpoint
from .command_line import CHANGEABLE, is_checkpoint, run_folder
from .errors import UserError
from .options import Options, to_dict

NEEDED = (  # of a checkpoint, to continue from it
    "model", "ema", "optimizer", "scheduler", "plateau", "scaler", "step", "skipped", "random",
    "epoch", "batch", "sums", "best", "best_epoch", "classes", "metrics",
)  # fmt: skip


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
        model = "pattern" if is_pattern(options.model) else options.model
        base = options.logdir / f"{model}-{options.data}"
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


def continued_folder(options: Options) -> tuple[Path, dict[str, Any] | None]:
    """The folder of the run to continue, and its checkpoint; None if it was cut before the first.

    Raises:
        UserError: nothing is left to do, or the checkpoint belongs to another run.
    """
    assert options.resume is not None
    folder = run_folder(options.resume)
    path = options.resume if is_checkpoint(options.resume) else folder / "last.pt"
    if path.name == "last.pt" and not path.exists():
        return folder, None
    saved, state = checkpoint.load(path)
    if state["format"] != checkpoint.FORMAT:
        raise UserError(
            f"{path} was written by an earlier version, which drew its random numbers in another "
            "way: evaluate.py takes it, and --weights does, but it cannot be continued"
        )
    checkpoint.require(path, state, *NEEDED)
    here, there = to_dict(options), to_dict(saved)
    ignored = {*CHANGEABLE, "resume", "name", "logdir"}
    for key in here:
        if key not in ignored and here[key] != there[key]:
            raise UserError(
                f"{path} was trained with --{key.replace('_', '-')} {there[key]}, but "
                f"{folder}/config.yaml says {here[key]}: it belongs to another run"
            )
    finished = (folder / "metrics.json").exists()
    if state["epoch"] > options.epochs or (finished and state["epoch"] == options.epochs):
        raise UserError(
            f"{folder} has trained {state['epoch']} epochs already: give --epochs a larger number "
            "to train on"
        )
    return folder, state
