"""AlexNet of the 2012 paper, and the one-tower network that has pretrained weights.

Krizhevsky, Sutskever, Hinton: "ImageNet Classification with Deep Convolutional Neural Networks",
NIPS 2012.  Section 3 describes the network, 4.2 dropout, 5 the initialisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor

import layers

from .initialization import weighted_layers
from .sizing import feature_shape


class AlexNet(torch.nn.Module):
    """AlexNet of 2012: two towers, response normalisation, overlapping pooling.

    60,965,224 parameters.

    The paper trains on two GPUs, each with half of the filters, which communicate only before conv3
    and the fully connected layers.  Here a tower is half of the channels: conv2, conv4 and conv5
    have `groups=2`, and `PerTower` normalises each half by itself.

    Args:
        num_classes: logits.
        in_channels: 3 for colour.
        image_size: pixels; the paper's is 224.
        dropout: probability of zeroing a unit of fc6 and fc7.
        nn: `layers` for ours, `torch.nn` for the built-in ones.

    Differs: not from the paper, but from the code that gave the published errors, which differs
    from the paper: its first layer applies ReLU after pooling, its second has another normalisation
    (within each map), and conv3 to conv5 are initialised with a standard deviation of 0.03.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        image_size: int | Sequence[int] = 224,
        dropout: float = 0.5,
        nn: ModuleType = layers,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(  # 3 x 224 x 224
            CeilPadding(11, stride=4),  # 3 x 227 x 227
            nn.Conv2d(in_channels, 96, 11, stride=4),  # conv1: 96 x 55 x 55
            nn.ReLU(),
            PerTower(response_norm(nn)),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),  # 96 x 27 x 27
            nn.Conv2d(96, 256, 5, padding=2, groups=2),  # conv2: 256 x 27 x 27
            nn.ReLU(),
            PerTower(response_norm(nn)),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),  # 256 x 13 x 13
            nn.Conv2d(256, 384, 3, padding=1),  # conv3, across both towers: 384 x 13 x 13
            nn.ReLU(),
            nn.Conv2d(384, 384, 3, padding=1, groups=2),  # conv4: 384 x 13 x 13
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1, groups=2),  # conv5: 256 x 13 x 13
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),  # 256 x 6 x 6
        )
        channels, height, width = feature_shape(self.features, in_channels, image_size)
        self.classifier = nn.Sequential(
            nn.Linear(channels * height * width, 4096),  # fc6
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),  # fc7
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, num_classes),  # fc8
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights N(0, 0.01^2); biases 1 in conv2, conv4, conv5, fc6 and fc7, else 0 (section 5).

        Biases of 1 give the ReLUs positive inputs, which accelerates the early stages of learning.
        """
        for layer in weighted_layers(self):
            torch.nn.init.normal_(layer.weight, std=0.01)
            torch.nn.init.zeros_(layer.bias)
        _, conv2, _, conv4, conv5, fc6, fc7, _ = weighted_layers(self)
        for layer in (conv2, conv4, conv5, fc6, fc7):
            torch.nn.init.ones_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:  # 3 x 224 x 224
        x = self.features(x)  # 256 x 6 x 6
        return self.classifier(torch.flatten(x, 1))  # 1000


class CeilPadding(torch.nn.Module):
    """Pads the bottom and right of an image with zeros, so that the output size rounds up.

        H_out = ceil((H - K) / S) + 1

    224 pixels with 11 x 11 windows and stride 4 give (224 - 11) / 4 + 1 = 54.25, but the paper has
    55 x 55 outputs.  Its code, cuda-convnet, rounds up: windows start in the top left corner, and
    the last ones extend beyond the bottom and right border, by 3 pixels.  torch.nn rounds down.
    """

    def __init__(self, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride

    def extra_repr(self) -> str:
        return f"{self.kernel_size}, stride={self.stride}"

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        bottom = (self.kernel_size - height) % self.stride
        right = (self.kernel_size - width) % self.stride
        return torch.nn.functional.pad(x, (0, right, 0, bottom))


class PerTower(torch.nn.Module):
    """Applies a layer to the channels of each tower separately.

    Otherwise the last two maps of the first tower and the first two of the second would be
    normalised by each other; in the paper they are on different GPUs.
    """

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, 1)
        return torch.cat((self.layer(first), self.layer(second)), 1)


def response_norm(nn: ModuleType) -> torch.nn.Module:
    """Local response normalisation with n = 5, alpha = 1e-4, beta = 0.75, k = 2 (section 3.3).

    The printed formula is (k + alpha * sum)^beta, but the code for which the constants were chosen
    divides alpha by n, as do torch and Caffe: (k + alpha/n * sum)^beta.  We follow the code; the
    printed formula would be alpha=5e-4 here.
    """
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0)


class AlexNetOWT(torch.nn.Module):
    """torchvision's one-tower AlexNet, for its pretrained weights; 61,100,840 parameters.

    Krizhevsky: "One weird trick for parallelizing convolutional neural networks",
    arXiv:1404.5997, 2014.

    Differs: like torchvision, no response normalisation, conv1 padded by 2 on all sides, dropout
    before the fully connected layers, not after them, and torch's default initialisation.  Features
    are average-pooled to 6 x 6, so that the parameters have the same shapes for any image size.

    Args: as `AlexNet`.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        image_size: int | Sequence[int] = 224,
        dropout: float = 0.5,
        nn: ModuleType = layers,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(  # 3 x 224 x 224
            nn.Conv2d(in_channels, 64, 11, stride=4, padding=2),  # 64 x 55 x 55
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),  # 64 x 27 x 27
            nn.Conv2d(64, 192, 5, padding=2),  # 192 x 27 x 27
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),  # 192 x 13 x 13
            nn.Conv2d(192, 384, 3, padding=1),  # 384 x 13 x 13
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),  # 256 x 13 x 13
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),  # 256 x 13 x 13
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),  # 256 x 6 x 6
        )
        feature_shape(self.features, in_channels, image_size)  # raises if the image is too small
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:  # 3 x 224 x 224
        x = self.features(x)  # 256 x 6 x 6
        x = self.avgpool(x)  # 256 x 6 x 6, for any image
        return self.classifier(torch.flatten(x, 1))  # 1000
