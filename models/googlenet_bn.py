"""torchvision's GoogLeNet, which has pretrained weights: batch normalisation, no 5 x 5.

Szegedy et al.: "Going Deeper with Convolutions", arXiv:1409.4842, 2014, and Ioffe, Szegedy:
"Batch Normalization", arXiv:1502.03167, 2015; the weights were ported from TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor

import layers

from .googlenet import TABLE_1, AuxiliaryLoss, GoogLeNetOutputs
from .initialization import weighted_layers
from .sizing import feature_shape

# Of ImageNet's training images, per channel, with pixels scaled to [0, 1]: the normalisation that
# torchvision's networks expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class GoogLeNetBN(torch.nn.Module):
    """torchvision's GoogLeNet; 13,004,888 parameters, 6,624,904 without the auxiliary heads.

    Args: as `GoogLeNet`, and
        transform_input: rescale images that are normalised by ImageNet's mean and standard
            deviation, as for the other networks, to pixels in [-1, 1], as the pretrained weights
            expect.
    Raises:
        ValueError: the image is too small, or `transform_input` without 3 channels.

    Differs from the network of 2014 (googlenet.py): every convolution has batch normalisation and
    no bias, and there is no response normalisation; the windows of the "5 x 5" branch are 3 x 3;
    maxpool4 is 2 x 2; the heads average to 4 x 4 for any image size; dropout is 0.2.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        image_size: int | Sequence[int] = 224,
        aux_logits: bool = True,
        transform_input: bool = False,
        dropout: float = 0.2,
        dropout_aux: float = 0.7,
        nn: ModuleType = layers,
    ) -> None:
        super().__init__()
        if transform_input and in_channels != 3:
            raise ValueError(
                f"transform_input knows ImageNet's 3 colours, not {in_channels} channels: "
                "use transform_input=False"
            )
        self.transform_input = transform_input
        self.conv1 = BasicConv2d(in_channels, 64, 7, nn, stride=2)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = BasicConv2d(64, 64, 1, nn)
        self.conv3 = BasicConv2d(64, 192, 3, nn)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = Inception(192, TABLE_1["3a"], nn)
        self.inception3b = Inception(256, TABLE_1["3b"], nn)
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = Inception(480, TABLE_1["4a"], nn)
        self.inception4b = Inception(512, TABLE_1["4b"], nn)
        self.inception4c = Inception(512, TABLE_1["4c"], nn)
        self.inception4d = Inception(512, TABLE_1["4d"], nn)
        self.inception4e = Inception(528, TABLE_1["4e"], nn)
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.inception5a = Inception(832, TABLE_1["5a"], nn)
        self.inception5b = Inception(832, TABLE_1["5b"], nn)
        self.aux1: AuxiliaryHead | None = None
        self.aux2: AuxiliaryHead | None = None
        if aux_logits:
            self.aux1 = AuxiliaryHead(512, num_classes, dropout_aux, nn)
            self.aux2 = AuxiliaryHead(528, num_classes, dropout_aux, nn)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1024, num_classes)

        pools = nn.Sequential(
            self.conv1, self.maxpool1, self.conv2, self.conv3, self.maxpool2,
            self.inception3a, self.inception3b, self.maxpool3, self.maxpool4,
        )  # fmt: skip
        feature_shape(pools, in_channels, image_size)  # raises if the image is too small
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights N(0, 0.01^2); biases by torch's default.

        (torchvision truncates the distribution at +-2, which is 200 standard deviations.)
        """
        for layer in weighted_layers(self):
            torch.nn.init.normal_(layer.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor | GoogLeNetOutputs:  # 3 x 224 x 224
        if self.transform_input:
            x = to_unit_range(x)
        x = self.conv1(x)  # 64 x 112 x 112
        x = self.maxpool1(x)  # 64 x 56 x 56
        x = self.conv2(x)  # 64 x 56 x 56
        x = self.conv3(x)  # 192 x 56 x 56
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
        """The loss of the paper's section 5."""
        return AuxiliaryLoss(label_smoothing, nn)


class BasicConv2d(torch.nn.Module):
    """A convolution, padded to preserve the size at stride 1, batch normalisation, ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, nn: ModuleType, stride: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False
        )
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


class Inception(torch.nn.Module):
    """Four parallel branches, concatenated; see `googlenet.Inception`.

    Differs: the third is 3 x 3, like the second, a known mistake that is part of the weights.

    Args:
        filters: a row of `TABLE_1`.
    """

    def __init__(self, in_channels: int, filters: Sequence[int], nn: ModuleType) -> None:
        super().__init__()
        one, reduce_three, three, reduce_five, five, projection = filters
        self.branch1 = BasicConv2d(in_channels, one, 1, nn)
        self.branch2 = nn.Sequential(
            BasicConv2d(in_channels, reduce_three, 1, nn), BasicConv2d(reduce_three, three, 3, nn)
        )
        self.branch3 = nn.Sequential(
            BasicConv2d(in_channels, reduce_five, 1, nn), BasicConv2d(reduce_five, five, 3, nn)
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1), BasicConv2d(in_channels, projection, 1, nn)
        )

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([branch(x) for branch in branches], 1)


class AuxiliaryHead(torch.nn.Module):
    """A classifier on intermediate feature maps, averaged to 4 x 4."""

    def __init__(self, in_channels: int, num_classes: int, dropout: float, nn: ModuleType) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d((4, 4))
        self.conv = BasicConv2d(in_channels, 128, 1, nn)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:  # 512 or 528 x 14 x 14
        x = self.avgpool(x)  # 512 or 528 x 4 x 4
        x = self.conv(x)  # 128 x 4 x 4
        x = self.relu(self.fc1(torch.flatten(x, 1)))  # 1024
        return self.fc2(self.dropout(x))  # 1000


def to_unit_range(x: Tensor) -> Tensor:
    """From ImageNet's normalisation to pixels in [-1, 1]: 2 (x std + mean) - 1."""
    mean = x.new_tensor(IMAGENET_MEAN)[:, None, None]
    std = x.new_tensor(IMAGENET_STD)[:, None, None]
    return 2 * (x * std + mean) - 1
