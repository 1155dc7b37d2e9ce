"""From the command line to `Options`, in two readings.

First --model, --data, --weights and --resume alone, because they decide the defaults; then all.
tyro builds the parser from the dataclass: names, types, choices, help and defaults have one source.
The names of the networks come from the recipes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..errors import UserError
from ..options import Options, load_yaml
from ..recipes import RECIPES, in_imagenet_s_units, recipe
from .option_groups import (
    Augmentation,
    Computation,
    Data,
    Network,
    Optimisation,
    Records,
    Schedule,
)
from .parsing import command_line

CHANGEABLE = ("epochs", "workers", "device", "log_every", "data_root")  # when a run is resumed


@dataclass(frozen=True)
class _Choice:
    model: str = Options.model
    data: str = Options.data
    weights: str | None = None
    resume: Path | None = None
    config: Path | None = None


MODEL_HELP = (
    f"Network: {', '.join(RECIPES)}. Or a layer pattern, such as "
    '"INPUT -> [CONV3-16 -> RELU -> POOL2]*2 -> FC".'
)


@dataclass(frozen=True)
class _Network(Network):
    model: Annotated[str, tyro.conf.arg(help=MODEL_HELP)] = Options.model


@dataclass(frozen=True)
class _CommandLine:
    """Every group of options under a heading of its own."""

    network: tyro.conf.OmitArgPrefixes[_Network]
    data: tyro.conf.OmitArgPrefixes[Data]
    augmentation: tyro.conf.OmitArgPrefixes[Augmentation]
    optimisation: tyro.conf.OmitArgPrefixes[Optimisation]
    schedule: tyro.conf.OmitArgPrefixes[Schedule]
    computation: tyro.conf.OmitArgPrefixes[Computation]
    records: tyro.conf.OmitArgPrefixes[Records]
    config: Path | None = None
    """The config.yaml of a run, whose options are the defaults instead of a recipe's."""

    @classmethod
    def of(cls, options: Options) -> _CommandLine:
        """With these defaults."""
        kinds = (_Network, Data, Augmentation, Optimisation, Schedule, Computation, Records)
        names = (field.name for field in dataclasses.fields(cls))
        groups: dict[str, Any] = {
            name: kind(
                **{field.name: getattr(options, field.name) for field in dataclasses.fields(kind)}
            )
            for name, kind in zip(names, kinds, strict=False)  # config has no default
        }
        return cls(**groups)

    def options(self) -> Options:
        groups = (vars(group) for name, group in vars(self).items() if name != "config")
        return Options(**{name: value for group in groups for name, value in group.items()})


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
        if choice.weights == "imagenet":
            defaults = in_imagenet_s_units(defaults)
    default = _CommandLine.of(defaults)
    options = command_line(
        _CommandLine, arguments, default=default, description=description
    ).options()
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
