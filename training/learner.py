"""The network in training, with its loss, optimiser and schedule."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

import models
from models.pattern import PatternError, is_pattern
from models.pretrained import builder_options

from .device import MEMORY_FORMATS, choose_memory_format
from .errors import UserError, unknown
from .fine_tuning import parameter_groups
from .options import Options
from .preprocess import Preprocess
from .schedule import scheduler


@dataclass
class Learner:
    """What changes during training, and what it is trained with."""

    model: torch.nn.Module
    criterion: torch.nn.Module
    preprocess: Preprocess
    optimizer: Optimizer
    scheduler: LambdaLR
    device: torch.device
    memory_format: str  # a key of MEMORY_FORMATS
    step: int = 0  # optimiser steps taken since the first epoch


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def new_model(options: Options, num_classes: int) -> torch.nn.Module:
    """
    Raises:
        UserError: no such network, a wrong pattern, images that do not fit it, fewer scores than
            classes.
    """
    if options.model not in models.MODELS and not is_pattern(options.model):
        raise unknown("model", options.model, models.MODELS)
    wanted = num_classes if options.num_classes is None else options.num_classes
    if wanted < num_classes:
        raise UserError(f"--num-classes {wanted}, but {options.data} has {num_classes} classes")
    try:
        return models.build(
            options.model,
            nn=models.LAYER_SETS[options.layers],
            num_classes=wanted,
            in_channels=len(options.mean),
            image_size=options.image_size,
            **(builder_options(options.model) if options.weights else {}),
        ).to(getattr(torch, options.dtype))
    except PatternError as error:
        raise UserError(f"--model: {error}") from None
    except ValueError as error:
        raise UserError(f"--model {options.model}: {error}; use a larger --image-size") from None


def new_learner(options: Options, num_classes: int, steps: int, device: torch.device) -> Learner:
    """A fresh network with its loss, optimiser and schedule; `steps` in an epoch."""
    memory_format = choose_memory_format(options.memory_format, device)
    layout = MEMORY_FORMATS[memory_format]
    model = new_model(options, num_classes).to(device).to(memory_format=layout)
    criterion = models.criterion(model, models.LAYER_SETS[options.layers], options.label_smoothing)
    groups = parameter_groups(model, options)
    optimizer: Optimizer
    if options.optimizer == "sgd":
        optimizer = torch.optim.SGD(
            groups, options.lr, options.momentum, weight_decay=options.weight_decay
        )
    else:
        optimizer = torch.optim.AdamW(
            groups, options.lr, (options.momentum, 0.999),
            weight_decay=options.weight_decay,
        )  # fmt: skip
    return Learner(
        model,
        criterion.to(device),
        Preprocess(options, layout).to(device),
        optimizer,
        scheduler(optimizer, options, steps),
        device,
        memory_format,
    )


def load_model(model: torch.nn.Module, state: dict[str, Any]) -> None:
    """A network's weights from a checkpoint; GoogLeNet's may expect its images rescaled."""
    model.load_state_dict(state["model"])
    if state.get("transform_input"):
        model.transform_input = True  # type: ignore[assignment]


def resume(learner: Learner, state: dict[str, Any]) -> None:
    """Put a learner where the checkpoint's was."""
    load_model(learner.model, state)
    learner.optimizer.load_state_dict(state["optimizer"])
    learner.scheduler.load_state_dict(state["scheduler"])
    learner.step = state["step"]
    # The rate of the next step is this schedule's, which more or fewer epochs have changed.
    schedule = learner.scheduler
    for group, base, factor in zip(
        learner.optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True
    ):
        group["lr"] = base * factor(learner.step)
    schedule._last_lr = [group["lr"] for group in learner.optimizer.param_groups]
