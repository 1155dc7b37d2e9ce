"""From the command line to `Options`, in two readings.

First --model, --data and --resume alone, because they decide the defaults; then everything.
tyro builds the parser from the dataclass: names, types, choices, help and defaults have one source.
The names of the networks come from the recipes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .errors import UserError
from .options import Options, load_yaml
from .parsing import command_line
from .recipes import RECIPES, recipe

CHANGEABLE = ("epochs", "workers", "device", "log_every", "data_root")  # when a run is resumed


@dataclass(frozen=True)
class _Choice:
    model: str = Options.model
    data: str = Options.data
    resume: Path | None = None
    config: Path | None = None


MODEL_HELP = (
    f"Network: {', '.join(RECIPES)}. Or a layer pattern, such as "
    '"INPUT -> [CONV3-16 -> RELU -> POOL2]*2 -> FC".'
)


@dataclass(frozen=True)
class _CommandLine(Options):
    model: Annotated[str, tyro.conf.arg(help=MODEL_HELP)] = Options.model
    config: Path | None = None
    """The config.yaml of a run, whose options are the defaults instead of a recipe's."""


def parse(arguments: Sequence[str], description: str) -> Options:
    """
    Raises:
        UserError: an unknown name, an impossible value, or a changed option of a resumed run.
    """
    choice, _ = command_line(_Choice, arguments, return_unknown_args=True, add_help=False)
    if choice.resume is not None:
        saved = load_yaml(run_folder(choice.resume) / "config.yaml")
        defaults = dataclasses.replace(saved, resume=choice.resume)
    elif choice.config is not None:
        defaults = dataclasses.replace(load_yaml(choice.config), name="", resume=None)
    else:
        defaults = recipe(choice.model, choice.data)
    default = _CommandLine(**vars(defaults))
    parsed = command_line(_CommandLine, arguments, default=default, description=description)
    options = Options(**{f.name: getattr(parsed, f.name) for f in dataclasses.fields(Options)})
    if choice.resume is not None:
        changed = [
            field.name
            for field in dataclasses.fields(Options)
            if getattr(options, field.name) != getattr(defaults, field.name)
            and field.name not in CHANGEABLE
        ]
        if changed:
            raise UserError(
                f"a resumed run keeps its options, but --{changed[0].replace('_', '-')} differs: "
                f"only {', '.join('--' + name.replace('_', '-') for name in CHANGEABLE)} may change"
            )
    options.check()
    return options


def run_folder(resume: Path) -> Path:
    """The folder of a run, given itself or a checkpoint in it."""
    return (resume.parent if is_checkpoint(resume) else resume).resolve()


def is_checkpoint(resume: Path) -> bool:
    """Whether --resume names a checkpoint and not a folder."""
    return resume.suffix == ".pt" and not resume.is_dir()
