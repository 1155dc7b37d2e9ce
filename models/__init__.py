"""The networks: `MODELS` is the list of all, `build` builds one of them, or a layer pattern.

CONTRIBUTING.md ("Add a network") says what else a network needs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

import layers

from . import allcnn, preact_resnet, resnet, resnet_cifar, vgg
from .alexnet import AlexNet, AlexNetOWT
from .deepface import DeepFace
from .googlenet import GoogLeNet
from .googlenet_bn import GoogLeNetBN
from .lenet import LeNet, LeNet5
from .pattern import is_pattern
from .pattern_network import PatternNetwork
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
    "resnet18": resnet.resnet18,
    "resnet34": resnet.resnet34,
    "resnet50": resnet.resnet50,
    "resnet101": resnet.resnet101,
    "resnet152": resnet.resnet152,
    "resnet50_v1": resnet.resnet50_v1,
    "resnet101_v1": resnet.resnet101_v1,
    "resnet152_v1": resnet.resnet152_v1,
    "resnet20": resnet_cifar.resnet20,
    "resnet32": resnet_cifar.resnet32,
    "resnet44": resnet_cifar.resnet44,
    "resnet56": resnet_cifar.resnet56,
    "resnet110": resnet_cifar.resnet110,
    "resnet1202": resnet_cifar.resnet1202,
    "preact_resnet18": preact_resnet.preact_resnet18,
    "preact_resnet34": preact_resnet.preact_resnet34,
    "preact_resnet50": preact_resnet.preact_resnet50,
    "preact_resnet101": preact_resnet.preact_resnet101,
    "preact_resnet152": preact_resnet.preact_resnet152,
    "preact_resnet200": preact_resnet.preact_resnet200,
    "preact_resnet110": preact_resnet.preact_resnet110,
    "preact_resnet164": preact_resnet.preact_resnet164,
    "preact_resnet1001": preact_resnet.preact_resnet1001,
    "model_c": allcnn.model_c,
    "strided_cnn_c": allcnn.strided_cnn_c,
    "convpool_cnn_c": allcnn.convpool_cnn_c,
    "allcnn_c": allcnn.allcnn_c,
    "deepface": DeepFace,
}

LAYER_SETS: dict[str, ModuleType] = {"custom": layers, "torch": torch.nn, "reference": layers}


def computing(layer_set: str) -> AbstractContextManager[None]:
    """A context manager in which a layer set computes.

    "reference" has the same networks as "custom", but computes them by the definitions in
    layers/ops/ alone, which is a switch of the whole process.
    """
    return layers.reference() if layer_set == "reference" else nullcontext()


def build(name: str, *, nn: ModuleType = layers, **options: Any) -> torch.nn.Module:
    """A network with freshly initialised parameters; by default the network of its paper.

    Args:
        name: a key of `MODELS`, or a layer pattern (models/pattern.py).
        nn: `layers` (ours) or `torch.nn` (built-in), with the same parameters and keys.
        options: `num_classes` (logits), `in_channels` (1 for greyscale images, 3 for colour),
            `image_size` (pixels, one number or (height, width)), and any other option of the
            network's builder.
    Raises:
        KeyError: no network of that name.
        ValueError: the image is too small; the message gives the smallest that fits.
        PatternError: a syntax error in the pattern; the message says where.
    """
    if is_pattern(name):
        return PatternNetwork(name, nn=nn, **options)
    return MODELS[name](nn=nn, **options)


def criterion(
    model: torch.nn.Module, nn: ModuleType = layers, label_smoothing: float = 0.0
) -> torch.nn.Module:
    """The loss that a network is trained with: that of its paper, or cross-entropy."""
    custom = getattr(model, "criterion", None)
    if custom is not None:
        return custom(label_smoothing, nn)
    return nn.CrossEntropyLoss(label_smoothing=label_smoothing)


def logits(output: Any) -> Tensor:
    """The logits, (N, num_classes), in the output of a network.

    Most networks return only these; in training mode, one with auxiliary classifiers returns a
    named tuple with a field `logits` (see `googlenet.GoogLeNetOutputs`).
    """
    return output if isinstance(output, Tensor) else output.logits
