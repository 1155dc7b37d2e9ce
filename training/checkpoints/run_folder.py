"""The folder of a run: a new one, or one to continue."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import shutil
from pathlib import Path
from typing import Any

from models.pattern import is_pattern

from ..arguments.command_line import CHANGEABLE, is_checkpoint, run_folder
from ..errors import UserError
from ..options import Options, ended_by, to_dict, to_yaml
from . import checkpoint

NEEDED = (  # of a checkpoint, to continue from it
    "model", "ema", "optimizer", "scheduler", "plateau", "scaler", "step", "skipped", "random",
    "epoch", "batch", "sums", "best", "best_epoch", "classes", "metrics",
)  # fmt: skip


def new_folder(options: Options) -> Path:
    """A folder no other run has: a given name must be free, the default one is numbered.

    It appears with its config.yaml in it, so that a run can be continued whenever it is killed.
    """
    model = "pattern" if is_pattern(options.model) else options.model
    base = options.logdir / (options.name or f"{model}-{options.data}")
    hidden, number = base.with_name(f".{base.name}.{os.getpid()}"), 1
    try:
        hidden.mkdir(parents=True, exist_ok=True)
        while True:
            folder = base if number == 1 else base.with_name(f"{base.name}-{number}")
            if _appears_as(hidden, folder, options):
                return folder
            if options.name:
                _remove(hidden)
                raise UserError(
                    f"{folder} already exists: continue it with --resume {folder}, or choose "
                    "another --name"
                )
            number += 1
    except OSError as error:
        _remove(hidden)
        raise UserError(
            f"cannot create {shown(base)} ({error.strerror}): choose another --logdir or --name"
        ) from None


def _appears_as(hidden: Path, folder: Path, options: Options) -> bool:
    """Whether the folder got its name; one that holds nothing gives way, as of a run that was
    killed at once."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        return False
    named = dataclasses.replace(options, name=folder.name, resume=None)
    (hidden / "config.yaml").write_text(to_yaml(named))  # an OSError is about the named folder
    try:
        hidden.rename(folder)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def _remove(hidden: Path) -> None:
    with contextlib.suppress(OSError):
        shutil.rmtree(hidden)


def shown(path: Path, length: int = 100) -> str:
    """A path in a sentence, cut if it is long."""
    return text if len(text := str(path)) <= length else f"{text[:length]}..."


def continued_folder(options: Options) -> tuple[Path, dict[str, Any] | None]:
    """The folder of the run to continue, and its checkpoint; None if it was cut before the first.

    Raises:
        UserError: nothing is left to do, or the checkpoint belongs to another run.
    """
    assert options.resume is not None
    folder = run_folder(options.resume)
    if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(
            f"{folder} cannot be continued, because it cannot be written to: copy it, or start a "
            f"new run from its weights with --weights {folder}"
        )
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
    ended = ended_by(options, state["epoch"], state["step"], state["best_epoch"])
    if finished and ended in ("limit-steps", "early-stop"):
        raise UserError(
            f"{folder} was ended by --{ended} and is tested already: start a new run from its "
            f"weights with --weights {folder}"
        )
    if state["epoch"] > options.epochs or (finished and ended):
        raise UserError(
            f"{folder} has trained {state['epoch']} epochs already: give --epochs a larger number "
            "to train on"
        )
    return folder, state
