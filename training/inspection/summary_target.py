"""What `summarize.py` summarises: a network by name, pattern, checkpoint, or a reader's own."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch.nn.parameter import is_lazy

import models
from analysis.check_target import Arguments, InvalidCheck, first_line, load
from models.pattern import PatternError, is_pattern, parse
from models.pattern_network import PatternNetwork

from ..checkpoints import checkpoint
from ..errors import UserError, unknown
from ..train_state import AMP, new_model

OWN_IMAGE_SIZE = 224  # pixels, of a reader's network, which does not say


@dataclass(frozen=True)
class Target:
    name: str
    layers: str  # a key of LAYER_SETS, or "own"
    nn: ModuleType  # whose loss it is trained with
    image: tuple[int, int, int]  # (C, H, W)
    build: Callable[[], torch.nn.Module]  # with numbers, as for measuring
    model: torch.nn.Module  # without numbers, if they are not needed
    dtype: torch.dtype = torch.float32  # that a checkpoint was trained with
    optimizer: str = "sgd"  # ... and whose


def find(
    name: str, *, layers: str | None = None, image_size: int | None = None, arguments: str = ""
) -> Target:
    """The network that is meant.

    Args:
        name: a key of `MODELS`, a pattern, a run's folder, a checkpoint, or MODULE:CLASS, which is
            imported and called: that runs the reader's code.
        layers: a key of `LAYER_SETS`; None for ours, or those that a checkpoint was trained with.
        image_size: in pixels; None for the network's own.
        arguments: of the reader's class.
    Raises:
        UserError: there is no such network, or it cannot be built; says what to write.
    """
    path, (source, colon, _) = Path(name), name.rpartition(":")
    is_named = is_pattern(name) or name in models.MODELS
    if arguments and (is_named or path.exists()):
        raise UserError(f"--args are of the constructor of a network of yours, and {name} is ours")
    if is_named:
        return _ours(name, layers or "custom", image_size)
    if path.exists():
        return _checkpoint(path, layers, image_size)
    if colon and source:
        if layers is not None:
            raise UserError(f"--layers chooses whose layers our networks have; {name} has its own")
        return _own(name, image_size, arguments)
    if path.suffix == ".pt" or len(path.parts) > 1:
        raise UserError(f"there is no run and no checkpoint at {name}")
    known = unknown("network", name, models.MODELS)
    raise UserError(f"{known} (a pattern, a run, a checkpoint or my_module:MyNet would do, too)")


def _ours(name: str, layers: str, image_size: int | None) -> Target:
    nn = models.LAYER_SETS[layers]
    options: dict[str, Any] = {} if image_size is None else {"image_size": image_size}
    if is_pattern(name):
        options |= _of_pattern(name, image_size)

    def build() -> torch.nn.Module:
        return models.build(name, nn=nn, **options)

    try:
        with torch.device("meta"):
            model = build()
    except PatternError as error:
        raise UserError(str(error)) from None
    except ValueError as error:
        raise UserError(f"{name}: {error}; use a larger --image-size") from None
    if isinstance(model, PatternNetwork):
        return Target("pattern", layers, nn, model.rows[0][1], build, model)
    defaults = inspect.signature(type(model)).parameters
    size = image_size or defaults["image_size"].default
    image = (defaults["in_channels"].default, size, size)
    return Target(name, layers, nn, image, build, model)


def _of_pattern(text: str, image_size: int | None) -> dict[str, Any]:
    """Options of a pattern that says how many outputs it has, and perhaps no size of images."""
    size, sequence = _parsed(text)
    options: dict[str, Any] = {}
    if size is None and image_size is not None:
        options["in_channels"] = 3
    last = next((layer for layer in reversed(sequence) if layer.word in ("FC", "CONV")), None)
    if last is not None and last.numbers:
        options["num_classes"] = int(last.numbers[-1])
    return options


def _parsed(text: str) -> Any:
    try:
        return parse(text)
    except PatternError as error:
        raise UserError(str(error)) from None


def _checkpoint(path: Path, layers: str | None, image_size: int | None) -> Target:
    file = path / "best.pt" if path.is_dir() else path
    if not file.exists() and (path / "last.pt").exists():
        file = path / "last.pt"
    options, saved = checkpoint.load(file)
    checkpoint.require(file, saved, "model", "classes")
    changes: dict[str, Any] = {"layers": layers, "image_size": image_size}
    options = replace(options, **{k: v for k, v in changes.items() if v is not None})
    nn, classes = models.LAYER_SETS[options.layers], len(saved["classes"])
    with torch.device("meta"):
        model = new_model(options, classes)
    image = (len(options.mean), options.image_size, options.image_size)
    name = "pattern" if is_pattern(options.model) else options.model
    dtype = getattr(torch, options.dtype) if options.amp == "none" else AMP[options.amp]
    return Target(
        name, options.layers, nn, image, lambda: new_model(options, classes), model, dtype,
        options.optimizer,
    )  # fmt: skip


def _own(name: str, image_size: int | None, arguments: str) -> Target:
    """A reader's network: a class or function that makes one, or one that is there."""

    def build() -> torch.nn.Module:
        found = load(name)
        if isinstance(found, torch.nn.Module):
            return found
        try:
            return Arguments.parse(arguments).build(found)
        except InvalidCheck:
            raise
        except Exception as error:
            raise UserError(
                f"{name}({arguments}) raises {first_line(error)}: give the arguments of its "
                'constructor, --args "3, num_classes=10"'
            ) from None

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = build()
    except InvalidCheck as error:
        raise UserError(str(error)) from None
    except SystemExit as ended:
        raise UserError(
            f"{name} ends the program (exit code {ended.code}): put what it runs under "
            "if __name__ == '__main__'"
        ) from None
    if not isinstance(model, torch.nn.Module):
        raise UserError(f"{name} makes no torch.nn.Module, but {type(model).__name__}")
    if any(map(is_lazy, model.parameters())):
        raise UserError(
            f"{name} has lazy layers, whose shapes come from the first images: run some through it "
            "where it is made, or write the shapes"
        )
    size = image_size or OWN_IMAGE_SIZE
    return Target(name, "own", torch.nn, (_in_channels(model), size, size), build, model)


def _in_channels(model: torch.nn.Module) -> int:
    """Of the first convolution; 3, for colour, if there is none."""
    first = next((m for m in model.modules() if isinstance(m, torch.nn.Conv2d)), None)
    return 3 if first is None else first.in_channels
