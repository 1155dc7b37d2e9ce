"""GoogLeNet of the 2014 paper.

Szegedy et al.: "Going Deeper with Convolutions", arXiv:1409.4842, 2014.  Section 4 describes the
inception module, section 5 and Table 1 the network.  What they do not specify (padding, rounding,
response normalisation, initialisation) follows Caffe's models/bvlc_googlenet.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

import layers

from .initialization import weighted_layers
from .sizing import feature_shape

# Table 1, the number of filters of each inception module's convolutions:
#   1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj
TABLE_1 = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class GoogLeNetOutputs(NamedTuple):
    """The outputs in training mode, each (N, num_classes).

    To be accessed by name: torchvision's tuple has aux2 before aux1.
    """

    logits: Tensor
    aux1: Tensor
    aux2: Tensor


class GoogLeNet(torch.nn.Module):
    """GoogLeNet of 2014: inception modules, response normalisation, two auxiliary heads.

    13,378,280 parameters, 6,998,552 without the heads.

    Args:
        num_classes: logits.
        in_channels: 3 for colour.
        image_size: pixels; the paper's is 224.
        aux_logits: add the two heads that inject gradient into the middle of the network.  In
            training mode `forward` then returns `GoogLeNetOutputs`, otherwise the logits.
        dropout, dropout_aux: probability of zeroing a unit before the last layer of the network,
            and of a head.
        nn: `layers` for ours, `torch.nn` for the built-in ones.
    Raises:
        ValueError: the image is too small for the network, or for the auxiliary heads.

    Differs: Table 1 gives the first layer 2.7K weights, as of a separable convolution; like other
    implementations, this has the full 7 x 7 convolution that the table names.  The last features
    are averaged to 1 x 1 for any image size, which at 224 pixels is the paper's 7 x 7 average.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        image_size: int | Sequence[int] = 224,
        aux_logits: bool = True,
        dropout: float = 0.4,
        dropout_aux: float = 0.7,
        nn: ModuleType = layers,
    ) -> None:
        super().__init__()
        self.conv1 = convolution(in_channels, 64, 7, nn, stride=2)
        self.maxpool1 = max_pool(nn)
        self.norm1 = response_norm(nn)
        self.conv2 = convolution(64, 64, 1, nn)
        self.conv3 = convolution(64, 192, 3, nn)
        self.norm2 = response_norm(nn)
        self.maxpool2 = max_pool(nn)
        self.inception3a = Inception(192, TABLE_1["3a"], nn)
        self.inception3b = Inception(256, TABLE_1["3b"], nn)
        self.maxpool3 = max_pool(nn)
        self.inception4a = Inception(480, TABLE_1["4a"], nn)
        self.inception4b = Inception(512, TABLE_1["4b"], nn)
        self.inception4c = Inception(512, TABLE_1["4c"], nn)
        self.inception4d = Inception(512, TABLE_1["4d"], nn)
        self.inception4e = Inception(528, TABLE_1["4e"], nn)
        self.maxpool4 = max_pool(nn)
        self.inception5a = Inception(832, TABLE_1["5a"], nn)
        self.inception5b = Inception(832, TABLE_1["5b"], nn)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1024, num_classes)

        # Strides are in the layers before 4b, and in maxpool4.
        before_4b = nn.Sequential(
            self.conv1, self.maxpool1, self.conv2, self.conv3, self.maxpool2,
            self.inception3a, self.inception3b, self.maxpool3, self.inception4a,
        )  # fmt: skip
        self.aux1: AuxiliaryHead | None = None
        self.aux2: AuxiliaryHead | None = None
        if aux_logits:
            part = "the auxiliary heads (aux_logits=False does without them)"
            pooled = nn.Sequential(before_4b, aux_pool(nn))
            _, height, width = feature_shape(pooled, in_channels, image_size, part)
            self.aux1 = AuxiliaryHead(512, (height, width), num_classes, dropout_aux, nn)
            self.aux2 = AuxiliaryHead(528, (height, width), num_classes, dropout_aux, nn)
        feature_shape(nn.Sequential(before_4b, self.maxpool4), in_channels, image_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As in Caffe: weights uniform in +-sqrt(3 / fan_in), biases 0.2, but 0 in classifiers."""
        for layer in weighted_layers(self):
            torch.nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear")
            torch.nn.init.constant_(layer.bias, 0.2)
        classifiers = [self.fc, *(head.fc2 for head in (self.aux1, self.aux2) if head)]
        for classifier in classifiers:
            torch.nn.init.zeros_(classifier.bias)

    def forward(self, x: Tensor) -> Tensor | GoogLeNetOutputs:  # 3 x 224 x 224
        x = self.conv1(x)  # 64 x 112 x 112
        x = self.norm1(self.maxpool1(x))  # 64 x 56 x 56
        x = self.conv2(x)  # 64 x 56 x 56
        x = self.norm2(self.conv3(x))  # 192 x 56 x 56
        x = self.maxpool2(x)  # 192 x 28 x 28
        x = self.inception3a(x)  # 256 x 28 x 28
        x = self.inception3b(x)  # 480 x 28 x 28
        x = self.maxpool3(x)  # 480 x 14 x 14
        x = self.inception4a(x)  # 512 x 14 x 14
        aux1 = self.aux1(x) if self.training and self.aux1 else None  # 1000
        x = self.inception4b(x)  # 512 x 14 x 14
        x = self.inception4c(x)  # 512 x 14 x 14
        x = self.inception4d(x)  # 528 x 14 x 14
        aux2 = self.aux2(x) if self.training and self.aux2 else None  # 1000
        x = self.inception4e(x)  # 832 x 14 x 14
        x = self.maxpool4(x)  # 832 x 7 x 7
        x = self.inception5a(x)  # 832 x 7 x 7
        x = self.inception5b(x)  # 1024 x 7 x 7
        x = torch.flatten(self.avgpool(x), 1)  # 1024
        logits = self.fc(self.dropout(x))  # 1000
        if aux1 is None or aux2 is None:
            return logits
        return GoogLeNetOutputs(logits, aux1=aux1, aux2=aux2)

    @staticmethod
    def criterion(label_smoothing: float, nn: ModuleType) -> torch.nn.Module:
        """The loss of section 5, with the auxiliary heads."""
        return AuxiliaryLoss(label_smoothing, nn)


class Inception(torch.nn.Module):
    """Four parallel branches, 1 x 1, 3 x 3, 5 x 5 and max-pooling, concatenated (Fig. 2b).

    1 x 1 convolutions reduce the channels before the 3 x 3 and 5 x 5 convolutions.

    Args:
        filters: a row of `TABLE_1`.
    """

    def __init__(self, in_channels: int, filters: Sequence[int], nn: ModuleType) -> None:
        super().__init__()
        one, reduce_three, three, reduce_five, five, projection = filters
        self.branch1 = convolution(in_channels, one, 1, nn)
        self.branch2 = nn.Sequential(
            convolution(in_channels, reduce_three, 1, nn), convolution(reduce_three, three, 3, nn)
        )
        self.branch3 = nn.Sequential(
            convolution(in_channels, reduce_five, 1, nn), convolution(reduce_five, five, 5, nn)
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1), convolution(in_channels, projection, 1, nn)
        )

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([branch(x) for branch in branches], 1)


class AuxiliaryHead(torch.nn.Module):
    """A classifier on intermediate feature maps (section 5).

    Args:
        size: height and width of the maps after pooling.
    """

    def __init__(
        self,
        in_channels: int,
        size: tuple[int, int],
        num_classes: int,
        dropout: float,
        nn: ModuleType,
    ) -> None:
        super().__init__()
        self.avgpool = aux_pool(nn)
        self.conv = convolution(in_channels, 128, 1, nn)
        self.fc1 = nn.Linear(128 * size[0] * size[1], 1024)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:  # 512 or 528 x 14 x 14
        x = self.avgpool(x)  # 512 or 528 x 4 x 4
        x = self.conv(x)  # 128 x 4 x 4
        x = self.relu(self.fc1(torch.flatten(x, 1)))  # 1024
        return self.fc2(self.dropout(x))  # 1000


class AuxiliaryLoss(torch.nn.Module):
    """E(logits) + 0.3 (E(aux1) + E(aux2)), where E is the cross-entropy (section 5).

    For a single tensor, the output in evaluation mode, E(logits).
    """

    WEIGHT = 0.3

    def __init__(self, label_smoothing: float = 0.0, nn: ModuleType = layers) -> None:
        super().__init__()
        self.cross_entropy = nn.CrossEntropyLoss(label_smoothing=label_smoothing)

    def forward(self, output: Tensor | GoogLeNetOutputs, targets: Tensor) -> Tensor:
        if isinstance(output, Tensor):
            return self.cross_entropy(output, targets)
        logits, aux1, aux2 = (self.cross_entropy(part, targets) for part in output)
        return logits + self.WEIGHT * (aux1 + aux2)


def convolution(
    in_channels: int, out_channels: int, kernel_size: int, nn: ModuleType, stride: int = 1
) -> torch.nn.Sequential:
    """A convolution, padded to preserve the size at stride 1, and ReLU."""
    padding = kernel_size // 2
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=padding),
        nn.ReLU(),
    )


def max_pool(nn: ModuleType) -> torch.nn.Module:
    """112 to 56, 28, 14 and 7 pixels: rounded up, as in Caffe."""
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def aux_pool(nn: ModuleType) -> torch.nn.Module:
    """14 pixels to 4."""
    return nn.AvgPool2d(5, stride=3, ceil_mode=True)


def response_norm(nn: ModuleType) -> torch.nn.Module:
    """Not listed in Table 1; k is 1 as in Caffe, where AlexNet's paper has 2."""
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
