"""The network that a layer pattern describes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor

import layers

from .pattern import HIDDEN, Layer, PatternError, parse
from .pattern_layers import Volume, advise, build
from .sizing import as_pair

ELEMENTWISE = ("RELU", "TANH", "DROPOUT")  # also allowed after an FC
SLIDING = ("CONV", "LOCAL", "POOL", "MAXPOOL", "AVGPOOL", "L2POOL")


class PatternNetwork(torch.nn.Module):
    """The network of a layer pattern; models/pattern.py has the grammar.

    `features` are the layers before the first FC, `classifier` the rest.

    Args:
        pattern: such as "INPUT -> [CONV3-16 -> RELU -> POOL2]*2 -> FC".
        num_classes: logits.
        in_channels, image_size: of the images, one number or (height, width); may be omitted if
            INPUT has them.
        nn: `layers` for ours, `torch.nn` for the built-in ones.  LOCAL has no twin there and is
            always ours; for a window of zeros, the gradient of L2POOL is NaN in torch.nn, and 0 in
            ours.
    Raises:
        PatternError: a syntax error, or a pattern that does not fit the images or the classes.
    Warns:
        UserWarning: a layer that breaks the chapter's sizing rules.
    """

    def __init__(
        self,
        pattern: str,
        num_classes: int = 10,
        *,
        in_channels: int | None = None,
        image_size: int | Sequence[int] | None = None,
        nn: ModuleType = layers,
    ) -> None:
        super().__init__()
        size, sequence = parse(pattern)
        volume = input_volume(size, in_channels, image_size)
        self.rows: list[tuple[str, Volume, tuple[int, ...]]] = [("INPUT", volume, ())]
        self.features, self.classifier = nn.Sequential(), nn.Sequential()
        part, first = self.features, True
        for layer in fill_in_outputs(sequence, num_classes):
            if layer.word == "FC":
                part = self.classifier
            elif part is self.classifier and layer.word not in ELEMENTWISE:
                raise PatternError(layer.column, f"{layer} needs an image, but stands behind an FC")
            if layer.word in SLIDING:
                advise(layer, volume, first)
            first = first and layer.word != "CONV"
            module, volume, weights = build(layer, volume, nn)
            part.append(module)
            self.rows.append((str(layer), volume, weights))
        if layer.word in ELEMENTWISE:
            raise PatternError(layer.column, f"{layer} would change the scores: end with FC")
        if volume != (num_classes, 1, 1):
            raise PatternError(
                layer.column,
                f"the pattern ends with {volume}, but there are {num_classes} classes: end it with "
                f"FC, or with CONV1-{num_classes} -> GAP",
            )
        if not any(True for _ in self.parameters()):
            raise PatternError(layer.column, "this pattern has nothing to learn: end it with FC")
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Normal with variance 2 / fan-in, which preserves the scale of activations through any
        number of CONV -> RELU; zero biases (He et al. 2015, "Delving Deep into Rectifiers", section
        2.2)."""
        for module in self.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear | layers.LocallyConnected2d):
                local = isinstance(module, layers.LocallyConnected2d)
                fan_in = module.weight.shape[3] if local else module.weight[0].numel()
                torch.nn.init.normal_(module.weight, std=math.sqrt(2 / fan_in))
                torch.nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # C x H x W
        return self.classifier(torch.flatten(x, 1))  # num_classes

    def describe(self) -> list[str]:
        """One line per layer, with its volume and weights, as in the chapter's table of VGG."""
        widths = [max(len(str(row[column])) for row in self.rows) for column in (0, 1)]
        return [
            f"{label:<{widths[0]}}  {volume!s:<{widths[1]}}  weights: {format_weights(weights)}"
            for label, volume, weights in self.rows
        ]


def format_weights(factors: Sequence[int]) -> str:
    """The number of weights as a product of its factors, as in the chapter."""
    product = f"{math.prod(factors):,}" if factors else "0"
    return f"{'*'.join(map(str, factors))} = {product}" if len(factors) > 1 else product


def fill_in_outputs(sequence: list[Layer], num_classes: int) -> list[Layer]:
    """Give FCs without a number their outputs: the classes for the last one, else `HIDDEN`."""
    last = max((i for i, layer in enumerate(sequence) if layer.word == "FC"), default=None)
    return [
        layer._replace(numbers=(num_classes if i == last else HIDDEN,))
        if layer.word == "FC" and not layer.numbers
        else layer
        for i, layer in enumerate(sequence)
    ]


def input_volume(
    size: tuple[int, int, int] | None,
    in_channels: int | None,
    image_size: int | Sequence[int] | None,
) -> Volume:
    """The size of the images, from INPUT or from the arguments, which must agree."""
    if size is None:
        if in_channels is None or image_size is None:
            raise PatternError(
                6,
                "INPUT needs a size, as in INPUT[3x32x32], or else in_channels and image_size",
            )
        return Volume(in_channels, *as_pair(image_size))
    channels, height, width = size
    channels = channels if in_channels is None else in_channels
    height, width = (height, width) if image_size is None else as_pair(image_size)
    if size != (channels, height, width):
        there, here = ("x".join(map(str, s)) for s in (size, (channels, height, width)))
        raise PatternError(
            6,
            f"INPUT[{there}] (channels x height x width) disagrees with the images, which are "
            f"{here}: write INPUT[{here}], or INPUT alone",
        )
    return Volume(*size)
