"""What a checkpoint must agree with: said in a sentence, before anything of the run is changed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Subset

from models import pretrained

from ..arguments.command_line import is_checkpoint
from ..data.image_folder import difference
from ..data.images import contents
from ..errors import UserError
from ..monitor.progress import say
from ..options import Options
from ..processes.distributed import is_writer
from ..run import Run
from ..train_state import TrainState, averaged
from . import checkpoint


def check_data(
    saved: dict[str, Any], options: Options, folder: Path, parts: list[Subset], classes: list[str]
) -> None:
    """That a resumed run goes on with the images it began with: numbers stand for classes, and the
    split and the order of an epoch for images.

    Raises:
        UserError: says which classes and files changed.
    """
    changes = []
    for then, now in zip(saved.get("images") or [], contents(*parts), strict=False):
        if then is not None and now is not None and then != now:
            changes.append(difference(then, now) or "its classes have another order")
    if not changes and saved["classes"] != classes:
        changes = [f"its classes were {_few(saved['classes'])} and are {_few(classes)}"]
    if changes:
        raise UserError(
            f"{options.data_root} is not as it was when {folder} was trained on it: {changes[0]}; "
            f"undo that, or start a new run from its weights with --weights {folder}"
        )


def _few(names: list[str], count: int = 5) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def check_weights(saved: dict[str, Any], model: torch.nn.Module, name: str, source: Path) -> None:
    """That the weights of a checkpoint are those of the network.

    Raises:
        UserError: says which one is missing, unexpected or of another shape.
    """
    ema = saved.get("ema")
    weights = saved["model"] if ema is None else averaged(ema)
    try:
        pretrained.check(weights, model.state_dict(), name)
    except ValueError as error:
        raise UserError(
            f"{source} does not fit: {error}; was the network changed since it was written?"
        ) from None


def load_state(saved: dict[str, Any], state: TrainState, source: Path) -> None:
    """Everything that a step changes.

    Raises:
        UserError: it is of another network, or of another version of this program.
    """
    check_weights(saved, state.model, state.options.model, source)
    try:
        state.load_state_dict(saved)
    except (KeyError, ValueError, TypeError, RuntimeError, AttributeError, IndexError) as error:
        reason = str(error).strip().split("\n")[-1].strip()
        raise UserError(
            f"{source} cannot be continued ({reason}): another version wrote it; evaluate.py may "
            "still take it, and --weights does"
        ) from None


def is_older(resume: Path) -> bool:
    """Whether --resume names a checkpoint of a run that is not its last one."""
    return is_checkpoint(resume) and resume.name != "last.pt"


def branch_off(run: Run) -> None:
    """Go on from an older checkpoint of the run: what came after it is no longer part of it.

    Later step-NUMBER.pt are removed.  A best.pt of a later step takes its place from here on, too:
    the one before it is gone.
    """
    step = run.state.step
    later = [path for path in run.folder.glob("step-*.pt") if int(path.stem[5:]) > step]
    if is_writer():
        for path in later:
            path.unlink()
    names = ["last.pt"]
    best = run.folder / "best.pt"
    if not best.exists() or checkpoint.load(best)[1]["step"] > step:
        seen = run.metrics
        run.best = [seen["acc1"], -seen["loss"]] if seen else [-1.0, -math.inf]
        run.best_epoch = run.epoch
        names = ["best.pt", "last.pt"]
    run.save(*names)
    say(f"  goes on from step {step}; checkpoints of later steps are replaced\n")
