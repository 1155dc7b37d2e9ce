"""Builds the layers of a pattern, computes their volumes, and gives the chapter's advice on sizes.

Letters as in the chapter: W size of the volume, F size of the window, S stride, P padding.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import torch

import layers
from layers.ops.geometry import Geometry

from .pattern import Layer, PatternError

MAX_WEIGHTS = 10**12  # of a layer; beyond these bounds is a mistake
MAX_VALUES = 2**30  # of a volume, for one image


class Volume(NamedTuple):
    """The output size of a layer; printed as in the chapter, [HxWxC]."""

    channels: int
    height: int = 1
    width: int = 1

    def __str__(self) -> str:
        return f"[{self.height}x{self.width}x{self.channels}]"


class Stage(NamedTuple):
    """A layer of the network."""

    module: torch.nn.Module
    volume: Volume
    weights: tuple[int, ...] = ()  # factors of their number, without biases, as in the chapter


def build(layer: Layer, volume: Volume, nn: ModuleType) -> Stage:
    """Build a layer for an input volume.

    Raises:
        PatternError: a window that does not fit, an even one that cannot preserve the size, or
            groups that do not divide the channels.
    """
    return BUILDERS[layer.word](layer, volume, nn)


def convolution(layer: Layer, volume: Volume, nn: ModuleType) -> Stage:
    output, geometry, weights = filters(layer, volume)
    (size, _), (stride, _), (padding, _), (dilation, _), groups = geometry
    check_size(layer, output, weights)
    module = nn.Conv2d(volume.channels, output.channels, size, stride, padding, dilation, groups)
    return Stage(module, output, weights)


def locally_connected(layer: Layer, volume: Volume, nn: ModuleType) -> Stage:
    """Like `convolution`, with separate weights at every position; torch.nn has no such layer."""
    output, geometry, weights = filters(layer, volume)
    weights = (output.height, output.width, *weights)
    check_size(layer, output, weights)
    module = layers.LocallyConnected2d(volume.channels, output.channels, volume[1:], *geometry)
    return Stage(module, output, weights)


def filters(layer: Layer, volume: Volume) -> tuple[Volume, Geometry, tuple[int, ...]]:
    """Output volume, geometry and weights at one position, for CONV and LOCAL."""
    size, number = (int(number) for number in layer.numbers)
    groups = layer.options.get("g", 1)
    if volume.channels % groups or number % groups:
        raise PatternError(
            layer.column,
            f"{groups} groups cannot share {volume.channels} channels and {number} filters equally",
        )
    output, geometry = slide(layer, volume)
    weights = (size, size, volume.channels // groups, number)
    return output._replace(channels=number), geometry, weights


def pool(layer: Layer, volume: Volume, nn: ModuleType) -> Stage:
    output, ((size, _), (stride, _), (padding, _), *_) = slide(layer, volume)
    if padding > size // 2:
        raise PatternError(layer.column, f"the padding of {layer} is more than half its window")
    if layer.word == "L2POOL":
        return Stage(nn.LPPool2d(2, size, stride), output)
    pooling = nn.AvgPool2d if layer.word == "AVGPOOL" else nn.MaxPool2d
    return Stage(pooling(size, stride, padding), output)


def global_average(layer: Layer, volume: Volume, nn: ModuleType) -> Stage:
    return Stage(nn.AdaptiveAvgPool2d(1), Volume(volume.channels))


def response_norm(layer: Layer, volume: Volume, nn: ModuleType) -> Stage:
    """With AlexNet's constants (Krizhevsky et al. 2012, section 3.3); torch divides alpha by the
    number of channels, the paper does not."""
    channels = int(layer.numbers[0])
    return Stage(nn.LocalResponseNorm(channels, alpha=1e-4 * channels, beta=0.75, k=2.0), volume)


def batch_norm(layer: Layer, volume: Volume, nn: ModuleType) -> Stage:
    return Stage(nn.BatchNorm2d(volume.channels), volume, (volume.channels,))


def relu(layer: Layer, volume: Volume, nn: ModuleType) -> Stage:
    return Stage(nn.ReLU(), volume)


def tanh(layer: Layer, volume: Volume, nn: ModuleType) -> Stage:
    return Stage(nn.Tanh(), volume)


def dropout(layer: Layer, volume: Volume, nn: ModuleType) -> Stage:
    return Stage(nn.Dropout(layer.numbers[0]), volume)


def fully_connected(layer: Layer, volume: Volume, nn: ModuleType) -> Stage:
    outputs = int(layer.numbers[0])
    channels, height, width = volume
    weights = (height, width, channels, outputs) if height * width > 1 else (channels, outputs)
    check_size(layer, Volume(outputs), weights)
    return Stage(nn.Linear(math.prod(volume), outputs), Volume(outputs), weights)


def check_size(layer: Layer, volume: Volume, weights: tuple[int, ...] = ()) -> None:
    """
    Raises:
        PatternError: an output volume or a number of weights that can only be a mistake.
    """
    if math.prod(weights) > MAX_WEIGHTS:
        raise PatternError(
            layer.column,
            f"{layer} has {math.prod(weights):,} weights, more than {MAX_WEIGHTS:,}: make the "
            "image smaller before it, or its numbers",
        )
    if math.prod(volume) > MAX_VALUES:
        raise PatternError(
            layer.column,
            f"{layer} makes {volume} of an image, more than {MAX_VALUES:,} numbers: use a larger "
            "stride or a smaller image",
        )


BUILDERS: dict[str, Callable[[Layer, Volume, ModuleType], Stage]] = {
    "CONV": convolution,
    "LOCAL": locally_connected,
    "POOL": pool,
    "MAXPOOL": pool,
    "AVGPOOL": pool,
    "L2POOL": pool,
    "GAP": global_average,
    "LRN": response_norm,
    "BN": batch_norm,
    "RELU": relu,
    "TANH": tanh,
    "DROPOUT": dropout,
    "FC": fully_connected,
}


def slide(layer: Layer, volume: Volume) -> tuple[Volume, Geometry]:
    """Output volume and geometry of a CONV, LOCAL or POOL, before channels change."""
    size, options = int(layer.numbers[0]), layer.options
    is_pool = layer.word.endswith("POOL")
    dilation = options.get("d", 1)
    span = dilation * (size - 1) + 1
    if not is_pool and span % 2 == 0 and "p" not in options:
        raise PatternError(
            layer.column,
            f"no padding P = (F - 1)/2 keeps the size under an even window: give one, such as "
            f"{layer}p{span // 2 - 1}, or make the window odd",
        )
    stride = options.get("s", size if is_pool else 1)
    padding = options.get("p", 0 if is_pool else span // 2)
    geometry = Geometry(
        (size, size), (stride, stride), (padding, padding), (dilation, dilation),
        options.get("g", 1),
    )  # fmt: skip
    try:
        height, width = geometry.output_size(volume[1:])
    except RuntimeError:
        raise PatternError(
            layer.column,
            f"{layer} does not fit {volume}, what is left of the image: start from a larger one, "
            "or leave out a pool or a stride",
        ) from None
    padded = (length + 2 * padding for length in volume[1:])
    check_size(layer, Volume(volume.channels, *padded))
    return volume._replace(height=height, width=width), geometry


def advise(layer: Layer, volume: Volume, first: bool) -> None:
    """Warn if a layer breaks the chapter's rules ("Layer Sizing Patterns").

    Args:
        volume: the input of the layer.
        first: whether no CONV precedes it.
    """
    _, geometry = slide(layer, volume)
    (size, _), (stride, _), (padding, _), *_ = geometry
    words = f"{layer.word} {size}x{size}"
    for axis, length in enumerate(volume[1:]):
        windows = (length - geometry.span[axis] + 2 * padding) / stride + 1
        if not windows.is_integer():
            padded = f" padding {padding}" if padding else ""
            sentence = f"{words} stride {stride}{padded} on {length} does not tile neatly"
            return warn(layer, f"{sentence}: {windows:g}")
    if (size, size) == volume[1:]:
        return None  # a single window: an FC written as a CONV
    if layer.word == "CONV" and size > 5 and not first:
        return warn(layer, f"{words} behind other layers: the chapter stacks CONV3 instead")
    if layer.word in ("POOL", "MAXPOOL") and size > 3:
        return warn(layer, f"{words} loses too much: the chapter pools 2x2, or 3x3 at stride 2")


def warn(layer: Layer, sentence: str) -> None:
    warnings.warn(f"column {layer.column}: {sentence}", stacklevel=2)
