"""The networks: `MODELS` lists them, `build` builds one of them, or a layer pattern."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

import layers

from .lenet import LeNet, LeNet5
from .pattern import is_pattern
from .pattern_network import PatternNetwork

MODELS: dict[str, Callable[..., torch.nn.Module]] = {
    "lenet": LeNet,
    "lenet5": LeNet5,
}

LAYER_SETS: dict[str, ModuleType] = {"custom": layers, "torch": torch.nn}


def build(name: str, *, nn: ModuleType = layers, **options: Any) -> torch.nn.Module:
    """A network with freshly initialised parameters; by default as its paper drew it.

    Args:
        name: a key of `MODELS`, or a layer pattern (models/pattern.py).
        nn: `layers` (ours) or `torch.nn` (built-in); parameters and keys are the same.
        options: `num_classes` (logits), `in_channels` (1 for grey images, 3 for colour),
            `image_size` (pixels, one number or (height, width)), and whatever else the
            network's own builder takes.
    Raises:
        KeyError: no network of that name.
        ValueError: the image is too small; the message says the smallest that fits.  Or a
            `PatternError`, which says where the pattern is wrong.
    """
    if is_pattern(name):
        return PatternNetwork(name, nn=nn, **options)
    return MODELS[name](nn=nn, **options)


def criterion(
    model: torch.nn.Module, nn: ModuleType = layers, label_smoothing: float = 0.0
) -> torch.nn.Module:
    """The loss a network is trained with: its own where its paper has one, else cross-entropy."""
    own = getattr(model, "criterion", None)
    if own is not None:
        return own(label_smoothing, nn)
    return nn.CrossEntropyLoss(label_smoothing=label_smoothing)
