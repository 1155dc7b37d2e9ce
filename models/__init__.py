"""The networks: `MODELS` lists them, `build` builds one from either layer set."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

import layers

from . import vgg
from .alexnet import AlexNet, AlexNetOWT
from .googlenet import GoogLeNet
from .googlenet_bn import GoogLeNetBN
from .lenet import LeNet, LeNet5
from .zfnet import ZFNet, zfnet_512

MODELS: dict[str, Callable[..., torch.nn.Module]] = {
    "lenet": LeNet,
    "lenet5": LeNet5,
    "alexnet": AlexNet,
    "alexnet_owt": AlexNetOWT,
    "zfnet": ZFNet,
    "zfnet_512": zfnet_512,
    "vgg11": vgg.vgg11,
    "vgg11_lrn": vgg.vgg11_lrn,
    "vgg13": vgg.vgg13,
    "vgg16_c": vgg.vgg16_c,
    "vgg16": vgg.vgg16,
    "vgg19": vgg.vgg19,
    "vgg11_bn": vgg.vgg11_bn,
    "vgg13_bn": vgg.vgg13_bn,
    "vgg16_bn": vgg.vgg16_bn,
    "vgg19_bn": vgg.vgg19_bn,
    "googlenet": GoogLeNet,
    "googlenet_bn": GoogLeNetBN,
}

LAYER_SETS: dict[str, ModuleType] = {"custom": layers, "torch": torch.nn}


def build(name: str, *, nn: ModuleType = layers, **options: Any) -> torch.nn.Module:
    """A network with freshly initialised parameters; by default as its paper drew it.

    Args:
        name: a key of `MODELS`.
        nn: `layers` (ours) or `torch.nn` (built-in); parameters and keys are the same.
        options: `num_classes` (logits), `in_channels` (1 for grey images, 3 for colour),
            `image_size` (pixels, one number or (height, width)), and whatever else the
            network's own builder takes.
    Raises:
        KeyError: no network of that name.
        ValueError: the image is too small; the message says the smallest that fits.
    """
    return MODELS[name](nn=nn, **options)


def criterion(
    model: torch.nn.Module, nn: ModuleType = layers, label_smoothing: float = 0.0
) -> torch.nn.Module:
    """The loss a network is trained with: its own where its paper has one, else cross-entropy."""
    own = getattr(model, "criterion", None)
    if own is not None:
        return own(label_smoothing, nn)
    return nn.CrossEntropyLoss(label_smoothing=label_smoothing)


def logits(output: Any) -> Tensor:
    """The class scores in what a network answers, (N, num_classes).

    Most networks answer just these; in training, one with auxiliary heads answers a named tuple
    with a field `logits` (see `googlenet.GoogLeNetOutputs`).
    """
    return output if isinstance(output, Tensor) else output.logits
