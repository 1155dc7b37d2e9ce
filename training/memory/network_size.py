"""A network is built without its numbers first, to see that they fit the memory."""

from __future__ import annotations

import warnings
from typing import Any

import torch

import models

from ..options import Options
from .machine import check_fits


def training_copies(options: Options, device: torch.device) -> int:
    """How many times training keeps every number in this machine's own memory: weights, gradients,
    the optimiser's state, the average."""
    if device.type != "cpu":
        return 1  # to build it; the rest is on the device
    state = 2 if options.optimizer == "adamw" else int(options.momentum > 0)
    return 1 + (0 if options.freeze else 1 + state) + (options.ema is not None)


def build_if_it_fits(name: str, copies: int, dtype: torch.dtype, **options: Any) -> torch.nn.Module:
    """`models.build`, if the memory of this machine holds so many copies of its weights.

    Raises:
        UserError: it does not; says how many weights there are.
        KeyError, ValueError, PatternError: as `models.build`.
    """
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")  # the network that is used will give them
        empty = models.build(name, **options)
    weights = sum(parameter.numel() for parameter in empty.parameters())
    check_fits(
        copies * weights * dtype.itemsize,
        f"the {weights:,} weights of --model {name}"
        + (f", kept {copies} times by training," if copies > 1 else ""),
        "choose a smaller network, --image-size or --num-classes",
    )
    return models.build(name, **options).to(dtype)
