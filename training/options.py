"""The options of a run: one dataclass for the command line, config.yaml and TensorBoard."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from .arguments.bounds import check_bounds
from .arguments.option_groups import (
    Augmentation,
    Computation,
    Data,
    Network,
    Optimisation,
    Records,
    Schedule,
)
from .checkpoints.files import write_text
from .errors import UserError, check_text


# A dataclass has the fields of its bases from the last to the first.
@dataclass(frozen=True)
class Options(Records, Computation, Schedule, Optimisation, Augmentation, Data, Network):
    """All options of a run. Defaults are the recipe for the chosen --model and --data."""

    def check(self) -> None:
        """Raise UserError for values that no run can have."""
        check_bounds(**{f.name: getattr(self, f.name) for f in dataclasses.fields(self)})
        if not self.mean or len(self.mean) != len(self.std):
            raise UserError("--mean and --std need one number per channel each")
        checkpoint_interval(self.checkpoint_every)
        if self.min_lr > self.lr:
            raise UserError(f"--min-lr {self.min_lr:g} is more than --lr {self.lr:g}")
        if self.head_lr is not None and self.min_lr > self.head_lr:
            raise UserError(f"--min-lr {self.min_lr:g} is more than --head-lr {self.head_lr:g}")
        if self.warmup_epochs > self.epochs:
            raise UserError(
                f"--warmup-epochs {self.warmup_epochs:g} is longer than the run, --epochs "
                f"{self.epochs}: the rate would never reach --lr; warm up for a part of it, "
                f"such as {self.epochs / 10:g}"
            )
        if self.optimizer == "nesterov" and not self.momentum:
            raise UserError(
                "--optimizer nesterov needs a --momentum, such as 0.9; without one use sgd"
            )
        if self.accumulate > self.batch_size:
            raise UserError(
                f"--accumulate {self.accumulate} parts of --batch-size {self.batch_size} images: "
                "a part needs an image"
            )
        if self.amp != "none" and self.dtype == "float64":
            raise UserError(f"--amp {self.amp} lowers float32, and not --dtype float64: use one")
        if self.freeze and self.weights is None:
            raise UserError("--freeze keeps weights that are trained: say which with --weights")
        if self.augment == "crop-flip-lighting" and len(self.mean) != 3:
            raise UserError(
                "--augment crop-flip-lighting shifts colours: it needs images of three channels; "
                "give crop-flip"
            )
        if Path(self.name).is_absolute() or ".." in Path(self.name).parts:
            raise UserError(f"--name {self.name} is not inside --logdir: give a plain name")
        if self.weights is not None and not self.weights.strip():
            raise UserError(
                "--weights is empty (an unset shell variable?): give imagenet or a file, or leave "
                "the option out to start from chance"
            )


def ended_by(options: Options, epoch: int, step: int, best_epoch: int) -> str | None:
    """The option that ends a run which has trained so far, or None: something is left to train."""
    if epoch >= options.epochs:
        return "epochs"
    if options.limit_steps is not None and step >= options.limit_steps:
        return "limit-steps"
    if options.early_stop is not None and epoch - best_epoch >= options.early_stop:
        return "early-stop"
    return None


def checkpoint_interval(text: str) -> tuple[float | None, int | None]:
    """(minutes, steps) of --checkpoint-every, one of which is None; both for an empty one."""
    if not text:
        return None, None
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(m|steps)", text)
    if found and found[2] == "m" and float(found[1]) > 0:
        return float(found[1]), None
    if found and found[2] == "steps" and found[1].isdigit() and int(found[1]) > 0:
        return None, int(found[1])
    raise UserError(f"--checkpoint-every must be like 10m or 500steps, got {text!r}")


def to_dict(options: Options) -> dict[str, object]:
    """Plain values only: what YAML, a checkpoint and TensorBoard can hold."""
    plain = dataclasses.asdict(options)
    return {
        key: str(value)
        if isinstance(value, Path)
        else list(value)
        if isinstance(value, tuple)
        else value
        for key, value in plain.items()
    }


def from_dict(plain: Any, source: Path | str = "options") -> Options:
    """The inverse of `to_dict`.

    Args:
        source: the file they come from, for the sentence.
    Raises:
        UserError: these are not the options of a run, or those of another version.
    """
    kinds = get_type_hints(Options)
    if not isinstance(plain, dict):
        raise UserError(f"{source} does not hold the options of a run")
    plain = _of_this_version(plain)
    strange = sorted(map(str, set(plain) - set(kinds)))
    if strange:
        raise UserError(
            f"{source}: {', '.join(strange)} is not known here: is it of another version?"
        )
    return Options(**{k: _typed(f"{source}: {k}", kinds[k], v) for k, v in plain.items()})


def _of_this_version(plain: dict[str, Any]) -> dict[str, Any]:
    """--lighting, an amount, is a choice of --augment by now."""
    if plain.get("lighting") not in (0, 0.1):
        return plain
    plain = dict(plain)
    if plain.pop("lighting") and plain.get("augment") == "crop-flip":
        plain["augment"] = "crop-flip-lighting"
    return plain


def _typed(name: str, kind: Any, value: Any) -> Any:
    """A plain value as the option's type; YAML reads 5e-2 as a word."""
    choices = get_args(kind)
    if type(None) in choices:
        if value is None:
            return None
        kind = choices[0]
    try:
        if get_origin(kind) is Literal:
            if value not in choices:
                raise UserError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
            return value
        if value is None or (kind is bool) != isinstance(value, bool):
            raise TypeError
        if get_origin(kind) is tuple:
            return tuple(float(v) for v in value)
        if kind is int and int(value) != float(value):
            raise ValueError
        if isinstance(value, str):
            check_text(name, value)
        return kind(value)
    except (TypeError, ValueError, OverflowError):
        words = getattr(kind, "__name__", str(kind))
        raise UserError(f"{name} must be {words}, got {value!r}") from None


def to_yaml(options: Options) -> str:
    return yaml.safe_dump(to_dict(options), sort_keys=False)


def save_yaml(options: Options, path: Path) -> None:
    write_text(path, to_yaml(options))


def load_yaml(path: Path) -> Options:
    """
    Raises:
        UserError: no such file, or not the options of a run.
    """
    try:
        plain = yaml.safe_load(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path.parent} is no run: it has no {path.name}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError):  # a wrong byte, a wrong date, a thousand [
        plain = None
    return from_dict(plain, path)
