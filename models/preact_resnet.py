"""Pre-activation residual networks: preact_resnet18 to 200, and 110, 164 and 1001 for CIFAR.

He, Zhang, Ren, Sun: "Identity Mappings in Deep Residual Networks", arXiv:1603.05027.  The ReLU
after the addition (resnet.py) impedes the signal.  Moved into the branch, before the convolutions,
it gives

    x[l+1] = x[l] + F(x[l]),        F = BN, ReLU, conv, BN, ReLU, conv:

the output of any unit is the input of any earlier one plus a sum of residuals, and gradients
propagate directly (equations 4 and 5).  The first and last units are described in the paper's
appendix.  What it does not specify follows the authors' code for CIFAR
(KaimingHe/resnet-1k-layers), and Facebook's for ImageNet (fb.resnet.torch, preresnet.lua).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType

import torch
from torch import Tensor

import layers

from .resnet import ZeroPadding, he_initialisation, stage, width
from .sizing import feature_shape

Residual = Callable[[int, int, int, ModuleType], torch.nn.Sequential]


class PreActResNet(torch.nn.Module):
    """For ImageNet: `ResNet` with pre-activation units (Table 5 has 152 and 200 layers).

    Args:
        residual: the branch of a unit, `basic` or `bottleneck`.
        num_units: in each stage.
        num_classes: logits.
        in_channels: 3 for colour.
        image_size: pixels; any size.
        nn: `layers` for ours, `torch.nn` for the built-in ones.
    Raises:
        ValueError: an empty image.
    """

    def __init__(
        self,
        residual: Residual,
        num_units: Sequence[int],
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        image_size: int | Sequence[int] = 224,
        nn: ModuleType = layers,
    ) -> None:
        super().__init__()
        unit = partial(PreActUnit, residual)
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = stage(unit, 64, 64, num_units[0], 1, "B", nn)
        self.layer1[0].preactivation = nn.Identity()  # the stem has BN and ReLU
        self.layer2 = stage(unit, width(self.layer1), 128, num_units[1], 2, "B", nn)
        self.layer3 = stage(unit, width(self.layer2), 256, num_units[2], 2, "B", nn)
        self.layer4 = stage(unit, width(self.layer3), 512, num_units[3], 2, "B", nn)
        self.bn2 = nn.BatchNorm2d(width(self.layer4))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width(self.layer4), num_classes)
        # Only the first unit of a stage changes the size.
        first = (self.layer1[0], self.layer2[0], self.layer3[0], self.layer4[0])
        feature_shape(nn.Sequential(self.conv1, self.maxpool, *first), in_channels, image_size)
        he_initialisation(self)

    def forward(self, x: Tensor) -> Tensor:  # 3 x 224 x 224
        x = self.relu(self.bn1(self.conv1(x)))  # 64 x 112 x 112
        x = self.maxpool(x)  # 64 x 56 x 56
        x = self.layer1(x)  # 64 x 56 x 56; with bottlenecks 256 channels, and so on
        x = self.layer2(x)  # 128 x 28 x 28
        x = self.layer3(x)  # 256 x 14 x 14
        x = self.layer4(x)  # 512 x 7 x 7
        x = self.relu(self.bn2(x))  # after the last addition
        x = self.avgpool(x)  # 512 x 1 x 1
        return self.fc(torch.flatten(x, 1))  # 1000


class CifarPreActResNet(torch.nn.Module):
    """For CIFAR: `CifarResNet` with pre-activation units.

    With n units per stage, 6n + 2 layers if they are `basic`, 9n + 2 if they are `bottleneck_v1`.

    Args:
        residual: the branch of a unit, `basic` or `bottleneck_v1`.
        num_units: n.
        shortcut: "A" or "B", if the shape changes; see `PreActUnit`.
        num_classes, in_channels, image_size, nn: as in `PreActResNet`.
    Raises:
        ValueError: an unknown shortcut, or an empty image.
    """

    def __init__(
        self,
        residual: Residual,
        num_units: int,
        num_classes: int = 10,
        *,
        in_channels: int = 3,
        image_size: int | Sequence[int] = 32,
        shortcut: str = "B",
        nn: ModuleType = layers,
    ) -> None:
        super().__init__()
        unit = partial(PreActUnit, residual)
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = stage(unit, 16, 16, num_units, 1, shortcut, nn)
        self.layer1[0].preactivation = nn.Identity()  # the stem has BN and ReLU
        self.layer2 = stage(unit, width(self.layer1), 32, num_units, 2, shortcut, nn)
        self.layer3 = stage(unit, width(self.layer2), 64, num_units, 2, shortcut, nn)
        self.bn2 = nn.BatchNorm2d(width(self.layer3))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width(self.layer3), num_classes)
        # Only the first unit of a stage changes the size.
        first = (self.layer1[0], self.layer2[0], self.layer3[0])
        feature_shape(nn.Sequential(self.conv1, *first), in_channels, image_size)
        he_initialisation(self)

    def forward(self, x: Tensor) -> Tensor:  # 3 x 32 x 32
        x = self.relu(self.bn1(self.conv1(x)))  # 16 x 32 x 32
        x = self.layer1(x)  # 16 x 32 x 32; with bottlenecks 64 channels, and so on
        x = self.layer2(x)  # 32 x 16 x 16
        x = self.layer3(x)  # 64 x 8 x 8
        x = self.relu(self.bn2(x))  # after the last addition
        x = self.avgpool(x)  # 64 x 1 x 1
        return self.fc(torch.flatten(x, 1))  # 10


class PreActUnit(torch.nn.Module):
    """x + F(x), where F is the pre-activation (BN, ReLU) followed by `residual`.

    If the shape changes, the shortcut also starts from the pre-activated tensor (`shared`).  The
    same holds for the first unit of a network, whose BN and ReLU are those of the stem.

    Shortcut "A" is zero padding as in resnet.py; "B" is a 1 x 1 convolution, here without batch
    normalisation.
    """

    def __init__(
        self,
        residual: Residual,
        in_channels: int,
        channels: int,
        stride: int,
        shortcut: str,
        nn: ModuleType,
    ) -> None:
        super().__init__()
        if shortcut not in ("A", "B"):
            raise ValueError(f'no shortcut "{shortcut}": use "A" or "B"')
        self.preactivation = nn.Sequential(nn.BatchNorm2d(in_channels), nn.ReLU())
        self.residual = residual(in_channels, channels, stride, nn)
        self.out_channels = width(self.residual)
        self.shared = stride != 1 or in_channels != self.out_channels
        if not self.shared:
            self.downsample = nn.Identity()
        elif shortcut == "A":
            self.downsample = ZeroPadding(in_channels, self.out_channels, stride)
        else:
            self.downsample = nn.Conv2d(
                in_channels, self.out_channels, 1, stride=stride, bias=False
            )

    def forward(self, x: Tensor) -> Tensor:  # in_channels x H x W
        a = self.preactivation(x)  # in_channels x H x W
        y = self.residual(a)  # out_channels x H/stride x W/stride
        return y + self.downsample(a if self.shared else x)


def basic(in_channels: int, channels: int, stride: int, nn: ModuleType) -> torch.nn.Sequential:
    """Two 3 x 3 convolutions."""
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
    )


def bottleneck(
    in_channels: int, channels: int, stride: int, nn: ModuleType, stride_first: bool = False
) -> torch.nn.Sequential:
    """1 x 1, 3 x 3 and 1 x 1 convolutions; the stride is in the 3 x 3, as in Facebook's code."""
    stride1, stride2 = (stride, 1) if stride_first else (1, stride)
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 1, stride=stride1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, stride=stride2, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, 4 * channels, 1, bias=False),
    )


# The stride in the first 1 x 1, as in the authors' code.
bottleneck_v1 = partial(bottleneck, stride_first=True)

# Parameters, and multiply-adds for a 224 x 224 image
preact_resnet18 = partial(PreActResNet, basic, (2, 2, 2, 2))  # 11,687,720  1.81 G
preact_resnet34 = partial(PreActResNet, basic, (3, 4, 6, 3))  # 21,795,880  3.66 G
preact_resnet50 = partial(PreActResNet, bottleneck, (3, 4, 6, 3))  # 25,549,352  4.09 G
preact_resnet101 = partial(PreActResNet, bottleneck, (3, 4, 23, 3))  # 44,541,480  7.80 G
preact_resnet152 = partial(PreActResNet, bottleneck, (3, 8, 36, 3))  # 60,185,128  11.51 G
preact_resnet200 = partial(PreActResNet, bottleneck, (3, 24, 36, 3))  # 64,666,152  15.01 G

# The same, for a 32 x 32 image
preact_resnet110 = partial(CifarPreActResNet, basic, 18, shortcut="A")  # 1,727,962  252.9 M
preact_resnet164 = partial(CifarPreActResNet, bottleneck_v1, 18)  # 1,703,258  244.5 M
preact_resnet1001 = partial(CifarPreActResNet, bottleneck_v1, 111)  # 10,327,706  1.49 G
