"""VGG: deep networks of 3 x 3 convolutions.

Simonyan, Zisserman: "Very Deep Convolutional Networks for Large-Scale Image Recognition",
arXiv:1409.1556, 2014.  Table 1 lists the networks, section 3.1 describes their training.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor

import layers

from .alexnet import response_norm
from .initialization import weighted_layers
from .sizing import feature_shape

# Table 1, from input to output: a number stands for that many 3 x 3 filters and a ReLU, 256@1 for
# 256 filters of 1 x 1, LRN for AlexNet's response normalisation, and M for max-pooling.
CONFIGURATIONS = {
    "A": "64 M 128 M 256 256 M 512 512 M 512 512 M",
    "A-LRN": "64 LRN M 128 M 256 256 M 512 512 M 512 512 M",
    "B": "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    "C": "64 64 M 128 128 M 256 256 256@1 M 512 512 512@1 M 512 512 512@1 M",
    "D": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    "E": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}


class VGG(torch.nn.Module):
    """A network of Table 1: five stages of 3 x 3 convolutions and three fully connected layers.

    Args:
        configuration: a key of `CONFIGURATIONS`.
        num_classes: logits.
        batch_norm: torchvision's variant, with batch normalisation after every convolution.
        in_channels: 3 for colour.
        image_size: pixels; the paper's is 224.
        avgpool: output size of adaptive average pooling after the convolutions, as in torchvision,
            so that the parameters have the same shapes for any image size.  None, as in the
            paper: the first fully connected layer depends on the image size, and is much smaller
            for small images.  At 224 pixels, 7 and None are the same network.
        dropout: probability of zeroing a unit of the two hidden fully connected layers.
        init: "kaiming" or "paper"; see `reset_parameters`.
        nn: `layers` for ours, `torch.nn` for the built-in ones.
    """

    def __init__(
        self,
        configuration: str,
        num_classes: int = 1000,
        *,
        batch_norm: bool = False,
        in_channels: int = 3,
        image_size: int | Sequence[int] = 224,
        avgpool: int | None = 7,
        dropout: float = 0.5,
        init: Literal["kaiming", "paper"] = "kaiming",
        nn: ModuleType = layers,
    ) -> None:
        super().__init__()
        self.features = convolutions(configuration, in_channels, batch_norm, nn)
        channels, height, width = feature_shape(self.features, in_channels, image_size)
        self.avgpool = nn.Identity()
        if avgpool is not None:
            self.avgpool = nn.AdaptiveAvgPool2d((avgpool, avgpool))
            height = width = avgpool
        self.classifier = nn.Sequential(
            nn.Linear(channels * height * width, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, num_classes),
        )
        self.reset_parameters(init)

    def reset_parameters(self, init: str) -> None:
        """Zero biases, and normal weights of one of two kinds.

        "kaiming", as in torchvision: variance 2/fan_out for convolutions (He et al. 2015), 0.01^2
        for fully connected layers.  "paper" (section 3.1): variance 10^-2 everywhere, a standard
        deviation of 0.1.  That is what is printed, but it is large: activations grow from layer to
        layer, and only net A is meant to be trained from it (see `copy_from_a`).

        Raises:
            ValueError: an unknown `init`.
        """
        if init not in ("kaiming", "paper"):
            raise ValueError(f'init must be "kaiming" or "paper", got {init!r}')
        for layer in weighted_layers(self):
            torch.nn.init.zeros_(layer.bias)
            if init == "paper":
                torch.nn.init.normal_(layer.weight, std=0.1)
            elif isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            else:
                torch.nn.init.normal_(layer.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:  # 3 x 224 x 224
        x = self.features(x)  # 512 x 7 x 7
        x = self.avgpool(x)  # 512 x 7 x 7
        return self.classifier(torch.flatten(x, 1))  # 1000


def convolutions(
    configuration: str, in_channels: int, batch_norm: bool, nn: ModuleType
) -> torch.nn.Sequential:
    """The layers of a configuration; only M changes the size of the image."""
    stack: list[torch.nn.Module] = []
    for item in CONFIGURATIONS[configuration].split():
        if item == "M":
            stack.append(nn.MaxPool2d(2))
        elif item == "LRN":
            stack.append(response_norm(nn))
        else:
            filters, _, kernel = item.partition("@")
            out_channels, kernel_size = int(filters), int(kernel or 3)
            stack.append(
                nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
            )
            if batch_norm:
                stack.append(nn.BatchNorm2d(out_channels))
            stack.append(nn.ReLU())
            in_channels = out_channels
    return nn.Sequential(*stack)


# As in torchvision; at 224 pixels the same as in the paper, with these parameters
vgg11 = partial(VGG, "A")  # 132,863,336
vgg13 = partial(VGG, "B")  # 133,047,848
vgg16 = partial(VGG, "D")  # 138,357,544
vgg19 = partial(VGG, "E")  # 143,667,240
# The paper's other two networks
vgg11_lrn = partial(VGG, "A-LRN", avgpool=None)  # 132,863,336
vgg16_c = partial(VGG, "C", avgpool=None)  # 133,638,952
# torchvision's variants with batch normalisation
vgg11_bn = partial(VGG, "A", batch_norm=True)  # 132,868,840
vgg13_bn = partial(VGG, "B", batch_norm=True)  # 133,053,736
vgg16_bn = partial(VGG, "D", batch_norm=True)  # 138,365,992
vgg19_bn = partial(VGG, "E", batch_norm=True)  # 143,678,248


def copy_from_a(model: VGG, a: VGG) -> None:
    """Initialise a deeper network from a trained net A, as in section 3.1.

    The first four convolutions and the three fully connected layers are copied; the layers between
    them keep their random initialisation.  Net A's first four convolutions are conv1_1, conv2_1,
    conv3_1 and conv3_2 (stage_index).  A deeper network has more layers in stages 1 and 2, so its
    own first four differ in shape; those of the same names have the same shapes, and are taken to
    be meant.

    Raises:
        ValueError: `a` is not net A, or the shapes differ (another number of classes or channels).
    """
    stages, stages_a = by_stage(model), by_stage(a)
    if [len(stage) for stage in stages_a] != [1, 1, 2, 2, 2, 3]:
        raise ValueError("copy_from_a copies from net A: build `a` with vgg11")
    pairs = [
        pair
        for number in (0, 1, 2, -1)  # the first three stages, and the fully connected layers
        for pair in zip(stages[number], stages_a[number], strict=False)
    ]
    for layer, source in pairs:
        if layer.weight.shape != source.weight.shape:
            raise ValueError(
                f"net A's weight {tuple(source.weight.shape)} does not fit "
                f"{tuple(layer.weight.shape)}: build both networks with the same num_classes "
                "and in_channels"
            )
    for layer, source in pairs:
        layer.load_state_dict(source.state_dict())


def by_stage(model: VGG) -> list[list[torch.nn.Conv2d | torch.nn.Linear]]:
    """The layers with weights: the convolutions of each stage, then the fully connected layers."""
    stages: list[list[torch.nn.Conv2d | torch.nn.Linear]] = [[]]
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            stages[-1].append(module)
        elif isinstance(module, torch.nn.MaxPool2d):
            stages.append([])
    return stages
