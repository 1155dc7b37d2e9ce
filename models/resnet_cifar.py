"""The thin residual networks of CIFAR-10: resnet20 to resnet1202.

He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition", arXiv:1512.03385, section 4.2,
Table 6.  They study depth rather than accuracy: 110 layers have 1.7 million parameters.  Not to be
confused with an ImageNet `resnet18` for small images.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import ModuleType

import torch
from torch import Tensor

import layers

from .resnet import BasicBlock, he_initialisation, stage, zero_last_gammas
from .sizing import feature_shape


class CifarResNet(torch.nn.Module):
    """One convolution, three stages of n blocks, global average, one linear layer: 6n + 2 layers.

    Args:
        num_blocks: n; a block has two 3 x 3 convolutions.
        num_classes: logits.
        in_channels: 3 for colour.
        image_size: pixels; any size.
        shortcut: "A" in the paper, for exactly the parameters of a plain network; "B" and "C" as
            in resnet.py.
        zero_init_residual: initialise every block as its shortcut, see resnet.py.
        nn: `layers` for ours, `torch.nn` for the built-in ones.
    Raises:
        ValueError: an unknown shortcut, or an empty image.
    """

    def __init__(
        self,
        num_blocks: int,
        num_classes: int = 10,
        *,
        in_channels: int = 3,
        image_size: int | Sequence[int] = 32,
        shortcut: str = "A",
        zero_init_residual: bool = False,
        nn: ModuleType = layers,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = stage(BasicBlock, 16, 16, num_blocks, 1, shortcut, nn)
        self.layer2 = stage(BasicBlock, 16, 32, num_blocks, 2, shortcut, nn)
        self.layer3 = stage(BasicBlock, 32, 64, num_blocks, 2, shortcut, nn)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, num_classes)
        # Only the first block of a stage changes the size.
        first = (self.layer1[0], self.layer2[0], self.layer3[0])
        feature_shape(nn.Sequential(self.conv1, *first), in_channels, image_size)
        he_initialisation(self)
        if zero_init_residual:
            zero_last_gammas(self)

    def forward(self, x: Tensor) -> Tensor:  # 3 x 32 x 32
        x = self.relu(self.bn1(self.conv1(x)))  # 16 x 32 x 32
        x = self.layer1(x)  # 16 x 32 x 32
        x = self.layer2(x)  # 32 x 16 x 16
        x = self.layer3(x)  # 64 x 8 x 8
        x = self.avgpool(x)  # 64 x 1 x 1
        return self.fc(torch.flatten(x, 1))  # 10


# Table 6; parameters, and multiply-adds for a 32 x 32 image
resnet20 = partial(CifarResNet, 3)  # 269,722      40.6 M
resnet32 = partial(CifarResNet, 5)  # 464,154      68.9 M
resnet44 = partial(CifarResNet, 7)  # 658,586      97.2 M
resnet56 = partial(CifarResNet, 9)  # 853,018     125.5 M
resnet110 = partial(CifarResNet, 18)  # 1,727,962  252.9 M
resnet1202 = partial(CifarResNet, 200)  # 19,421,274  2.83 G
