"""What a step changes, and what it is made with: network, loss, optimiser, schedule, average."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

import layers
import models
from models.pattern import PatternError, is_pattern
from models.pretrained import builder_options

from .data.batches import steps_per_epoch
from .data.mixture import mixture
from .data.preprocess import Preprocess
from .device import MEMORY_FORMATS, choose_memory_format
from .errors import UserError, unknown
from .fine_tuning import load_weights, parameter_groups
from .memory.network_size import build_if_it_fits, training_copies
from .options import Options
from .processes.distributed import parallel
from .schedule import plateau, scheduler

AMP = {"none": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class TrainState:
    """What changes during training, and what it is trained with."""

    options: Options
    model: torch.nn.Module
    forward: Callable[[Tensor], Any]  # the model, parallel and compiled where it is asked for
    criterion: torch.nn.Module
    preprocess: Preprocess
    mixture: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None
    optimizer: Optimizer
    scheduler: LambdaLR
    plateau: ReduceLROnPlateau | None
    scaler: torch.amp.GradScaler  # of the loss, for float16; else it does nothing
    ema: AveragedModel | None
    device: torch.device
    memory_format: str  # a key of MEMORY_FORMATS
    step: int = 0  # optimiser steps taken since the first epoch
    skipped: int = 0  # of them, those that float16 made nothing of

    @property
    def evaluated(self) -> torch.nn.Module:
        """The network that is validated, kept and tested: the average, if there is one."""
        return self.model if self.ema is None else self.ema.module

    def autocast(self) -> AbstractContextManager[Any]:
        amp = self.options.amp
        return torch.autocast(self.device.type, AMP[amp], enabled=amp != "none")

    def smallest_batch(self) -> int:
        """Images that a step needs."""
        return smallest_batch(self.model)

    def smallest_share(self) -> int:
        """Images of a step that a process needs, unless it has none."""
        return 1 if self.options.sync_bn else self.smallest_batch()

    def epoch_ended(self, val_loss: float) -> None:
        """The plateau schedule looks at the validation loss; later steps start from its rate."""
        warming_up = self.scheduler.lr_lambdas[0](self.step) < 1
        if self.plateau is None or warming_up:
            return
        groups = self.optimizer.param_groups
        before = [group["lr"] for group in groups]
        self.plateau.step(val_loss)
        if [group["lr"] for group in groups] != before:
            self.scheduler.base_lrs = [group["lr"] for group in groups]

    def start_from_weights(self) -> str:
        """Load --weights; returns what was loaded, in one line."""
        origin = load_weights(self.model, self.options)
        self._rescale(getattr(self.model, "transform_input", False))
        return origin

    def _rescale(self, transform_input: bool) -> None:
        """Whether a GoogLeNet rescales its images, which its average must do, too."""
        for network in (self.model, self.evaluated):
            if hasattr(network, "transform_input"):
                network.transform_input = transform_input  # type: ignore[assignment]

    def state_dict(self) -> dict[str, Any]:
        """Everything that a step changes, as tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "transform_input": getattr(self.model, "transform_input", False),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "plateau": None if self.plateau is None else self.plateau.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "skipped": self.skipped,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.model.load_state_dict(saved["model"])
        self._rescale(saved.get("transform_input", False))
        if self.ema is not None:
            self.ema.load_state_dict(saved["ema"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scheduler.load_state_dict(saved["scheduler"])
        if self.plateau is not None:
            self.plateau.load_state_dict(saved["plateau"])
        self.scaler.load_state_dict(saved["scaler"])
        self.step, self.skipped = saved["step"], saved["skipped"]
        # The rate of the next step is this schedule's, which more or fewer epochs have changed.
        schedule = self.scheduler
        for group, base, factor in zip(
            self.optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True
        ):
            group["lr"] = base * factor(self.step)
        schedule._last_lr = [group["lr"] for group in self.optimizer.param_groups]


def new_model(options: Options, num_classes: int, copies: int = 1) -> torch.nn.Module:
    """
    Args:
        copies: of its weights that must fit the memory.
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
        return build_if_it_fits(
            options.model,
            copies,
            getattr(torch, options.dtype),
            nn=models.LAYER_SETS[options.layers],
            num_classes=wanted,
            in_channels=len(options.mean),
            image_size=options.image_size,
            **(builder_options(options.model) if options.weights else {}),
        )
    except PatternError as error:
        raise UserError(f"--model: {error}") from None
    except ValueError as error:
        raise UserError(f"--model {options.model}: {error}; use a larger --image-size") from None


def new_train_state(
    options: Options, num_classes: int, images: int, device: torch.device, training: bool = True
) -> TrainState:
    """A fresh network with its loss, optimiser and schedule.

    Args:
        images: of an epoch; a last batch that is too small for the network is no step of it. What
            only evaluates has no schedule, so any number does.
    """
    memory_format = choose_memory_format(options.memory_format, device)
    layout = MEMORY_FORMATS[memory_format]
    copies = training_copies(options, device) if training else 1
    model = new_model(options, num_classes, copies).to(device).to(memory_format=layout)
    if options.sync_bn:
        model = layers.SyncBatchNorm.convert_sync_batchnorm(model)
    criterion = models.criterion(model, models.LAYER_SETS[options.layers], options.label_smoothing)
    optimizer = new_optimizer(model, options)
    steps = max(1, steps_per_epoch(images, options.batch_size, smallest_batch(model)))
    decay = options.ema
    ema = (
        AveragedModel(model, multi_avg_fn=partial(_average, decay), use_buffers=True)
        if decay is not None
        else None
    )
    forward = parallel(model, device) if training else model
    classes = num_classes if options.num_classes is None else options.num_classes
    return TrainState(
        options,
        model,
        torch.compile(forward) if options.compile else forward,
        criterion.to(device),
        Preprocess(options, layout).to(device),
        mixture(options, classes),
        optimizer,
        scheduler(optimizer, options, steps),
        plateau(optimizer, options),
        torch.amp.GradScaler(device.type, enabled=options.amp == "fp16"),
        ema,
        device,
        memory_format,
    )


def smallest_batch(model: torch.nn.Module) -> int:
    """Images that a training step needs: batch normalisation has no variance of one."""
    norms = torch.nn.modules.batchnorm._BatchNorm
    return 2 if any(isinstance(m, norms) for m in model.modules()) else 1


@torch.no_grad()
def _average(decay: float, averages: list[Tensor], current: list[Tensor], _: Any) -> None:
    """average = decay average + (1 - decay) current; of counters and indices, the current ones."""
    for average, now in zip(averages, current, strict=True):
        if average.is_floating_point():
            average.lerp_(now, 1 - decay)
        else:
            average.copy_(now)


def new_optimizer(model: torch.nn.Module, options: Options) -> Optimizer:
    groups, decay = parameter_groups(model, options), options.weight_decay
    if options.optimizer == "adamw":
        return torch.optim.AdamW(groups, options.lr, (options.momentum, 0.999), weight_decay=decay)
    nesterov = options.optimizer == "nesterov"
    return torch.optim.SGD(
        groups, options.lr, options.momentum, weight_decay=decay, nesterov=nesterov
    )


def load_model(model: torch.nn.Module, saved: dict[str, Any]) -> None:
    """The weights of a checkpoint to be evaluated: the average of those it trained, if it has one.

    GoogLeNet's may expect its images rescaled.
    """
    ema = saved.get("ema")
    model.load_state_dict(saved["model"] if ema is None else averaged(ema))
    if saved.get("transform_input"):
        model.transform_input = True  # type: ignore[assignment]


def averaged(ema: dict[str, Any]) -> dict[str, Any]:
    """The network's own state in that of an `AveragedModel`."""
    prefix = "module."
    return {key.removeprefix(prefix): t for key, t in ema.items() if key.startswith(prefix)}
