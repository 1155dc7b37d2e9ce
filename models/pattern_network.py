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

ELEMENTWISE = ("RELU", "TANH", "DROPOUT")  # also behind an FC, where no image is left
SLIDING = ("CONV", "LOCAL", "POOL", "MAXPOOL", "AVGPOOL", "L2POOL")


class PatternNetwork(torch.nn.Module):
    """A network from its layer pattern; models/pattern.py has the grammar.

    `features` is what stands before the first FC, `classifier` the rest.

    Args:
        pattern: such as "INPUT -> [CONV3-16 -> RELU -> POOL2]*2 -> FC".
        num_classes: logits.
        in_channels, image_size: of the images, as one number or (height, width); not needed where
            INPUT names them.
        nn: `layers` for ours, `torch.nn` for the built-in ones.  LOCAL has no twin there and stays
            ours; the gradient of torch.nn's L2POOL is NaN at a window of zeros, that of ours 0.
    Raises:
        PatternError: not a pattern, or one that does not fit the images or the classes.
    Warns:
        UserWarning: layers that are not as the chapter's sizing rules would have them.
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
        for layer in with_outputs(sequence, num_classes):
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
        """Normal with variance 2 / fan-in, which keeps the scale of a volume through any number of
        CONV -> RELU; biases zero (He et al. 2015, "Delving Deep into Rectifiers", section 2.2)."""
        for module in self.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear | layers.LocallyConnected2d):
                local = isinstance(module, layers.LocallyConnected2d)
                fan_in = module.weight.shape[3] if local else module.weight[0].numel()
                torch.nn.init.normal_(module.weight, std=math.sqrt(2 / fan_in))
                torch.nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)  # C x H x W
        return self.classifier(torch.flatten(x, 1))  # num_classes

    def described(self) -> list[str]:
        """A line for each layer: the volume it makes, its weights; the chapter's table of VGG."""
        widths = [max(len(str(row[column])) for row in self.rows) for column in (0, 1)]
        return [
            f"{label:<{widths[0]}}  {volume!s:<{widths[1]}}  weights: {counted(weights)}"
            for label, volume, weights in self.rows
        ]


def counted(factors: Sequence[int]) -> str:
    """A number of weights and how it comes about; biases do not count, as in the chapter."""
    product = f"{math.prod(factors):,}" if factors else "0"
    return f"{'*'.join(map(str, factors))} = {product}" if len(factors) > 1 else product


def with_outputs(sequence: list[Layer], num_classes: int) -> list[Layer]:
    """Every bare FC with its number: that of the classes in the last FC, `HIDDEN` before."""
    last = max((i for i, layer in enumerate(sequence) if layer.word == "FC"), default=None)
    return [
        layer._replace(numbers=(num_classes if i == last else HIDDEN,))
        if layer.word == "FC" and not layer.numbers
        else layer
        for i, layer in enumerate(sequence)
    ]


def input_volume(
    named: tuple[int, int, int] | None,
    in_channels: int | None,
    image_size: int | Sequence[int] | None,
) -> Volume:
    """The images: as INPUT names them, as they are, or both if they agree."""
    if named is None:
        if in_channels is None or image_size is None:
            raise PatternError(
                6,
                "INPUT needs a size, as in INPUT[3x32x32], or else in_channels and image_size",
            )
        return Volume(in_channels, *as_pair(image_size))
    channels, height, width = named
    channels = channels if in_channels is None else in_channels
    height, width = (height, width) if image_size is None else as_pair(image_size)
    if named != (channels, height, width):
        there, here = ("x".join(map(str, size)) for size in (named, (channels, height, width)))
        raise PatternError(
            6,
            f"INPUT[{there}] (channels x height x width) disagrees with the images, which are "
            f"{here}: write INPUT[{here}], or INPUT alone",
        )
    return Volume(*named)
