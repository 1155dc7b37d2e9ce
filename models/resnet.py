"""Residual networks for ImageNet: resnet18 to 152, and resnet50_v1 to 152_v1 as first published.

He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition", arXiv:1512.03385 (CVPR 2016).
Section 3 describes the networks, Table 1 lists them.  A block adds a residual F, a few
convolutions, to its input,

    y = relu(F(x) + shortcut(x)),

so that the identity is easy to learn, and more layers do no harm.  Parameters have torchvision's
keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType

import torch
from torch import Tensor

import layers

from .sizing import feature_shape


class ResNet(torch.nn.Module):
    """Stem, four stages of blocks, global average, one linear layer (Table 1).

    Args:
        block: `BasicBlock`, `Bottleneck` or `BottleneckV1`.
        num_blocks: in each stage; for 224 pixels, the stages have 56, 28, 14 and 7 pixels.
        num_classes: logits.
        in_channels: 3 for colour.
        image_size: pixels; any size.
        shortcut: "A", "B" or "C", see `make_shortcut`.  Table 3 compares them with 34 layers; with
            50 and more the paper uses B.
        zero_init_residual: initialise the last gamma of every block with 0: then F = 0, and each
            block is its shortcut.  Not in this paper, but in Goyal et al., arXiv:1706.02677.
        nn: `layers` for ours, `torch.nn` for the built-in ones.
    Raises:
        ValueError: an unknown shortcut, or an empty image.

    Differs: max-pooling pads by 1, as in torchvision; in the authors' released models it starts in
    the corner and rounds up.  Both give 56 pixels, but windows are shifted by one pixel.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        num_blocks: Sequence[int],
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        image_size: int | Sequence[int] = 224,
        shortcut: str = "B",
        zero_init_residual: bool = False,
        nn: ModuleType = layers,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = stage(block, 64, 64, num_blocks[0], 1, shortcut, nn)
        self.layer2 = stage(block, width(self.layer1), 128, num_blocks[1], 2, shortcut, nn)
        self.layer3 = stage(block, width(self.layer2), 256, num_blocks[2], 2, shortcut, nn)
        self.layer4 = stage(block, width(self.layer3), 512, num_blocks[3], 2, shortcut, nn)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width(self.layer4), num_classes)
        # Only the first block of a stage changes the size.
        first = (self.layer1[0], self.layer2[0], self.layer3[0], self.layer4[0])
        feature_shape(nn.Sequential(self.conv1, self.maxpool, *first), in_channels, image_size)
        he_initialisation(self)
        if zero_init_residual:
            zero_last_gammas(self)

    def forward(self, x: Tensor) -> Tensor:  # 3 x 224 x 224
        x = self.relu(self.bn1(self.conv1(x)))  # 64 x 112 x 112
        x = self.maxpool(x)  # 64 x 56 x 56
        x = self.layer1(x)  # 64 x 56 x 56; with bottlenecks 256 channels, and so on
        x = self.layer2(x)  # 128 x 28 x 28
        x = self.layer3(x)  # 256 x 14 x 14
        x = self.layer4(x)  # 512 x 7 x 7
        x = self.avgpool(x)  # 512 x 1 x 1
        return self.fc(torch.flatten(x, 1))  # 1000


class BasicBlock(torch.nn.Module):
    """F is two 3 x 3 convolutions (Fig. 5, left); the first one has the stride."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, shortcut: str, nn: ModuleType
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.downsample = make_shortcut(shortcut, in_channels, channels, stride, nn)
        self.out_channels = channels

    def forward(self, x: Tensor) -> Tensor:  # in_channels x H x W
        y = self.relu(self.bn1(self.conv1(x)))  # channels x H/stride x W/stride
        y = self.bn2(self.conv2(y))  # the same
        return self.relu(y + self.downsample(x))


class Bottleneck(torch.nn.Module):
    """F is 1 x 1, 3 x 3 and 1 x 1 convolutions: reduce, convolve, expand (Fig. 5, right).

    Differs: stride 2 is in the 3 x 3 convolution ("v1.5", as in Facebook's and torchvision's code),
    which reads every pixel; the authors' version is `BottleneckV1`.  The parameters are the same.
    """

    stride_at = "conv2"

    def __init__(
        self, in_channels: int, channels: int, stride: int, shortcut: str, nn: ModuleType
    ) -> None:
        super().__init__()
        stride1, stride2 = (stride, 1) if self.stride_at == "conv1" else (1, stride)
        self.out_channels = 4 * channels
        self.conv1 = nn.Conv2d(in_channels, channels, 1, stride=stride1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, self.out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(self.out_channels)
        self.relu = nn.ReLU()
        self.downsample = make_shortcut(shortcut, in_channels, self.out_channels, stride, nn)

    def forward(self, x: Tensor) -> Tensor:  # in_channels x H x W
        y = self.relu(self.bn1(self.conv1(x)))  # channels x H x W; v1: H/stride x W/stride
        y = self.relu(self.bn2(self.conv2(y)))  # channels x H/stride x W/stride
        y = self.bn3(self.conv3(y))  # 4 channels x H/stride x W/stride
        return self.relu(y + self.downsample(x))


class BottleneckV1(Bottleneck):
    """The authors' bottleneck: stride 2 in the first 1 x 1, which skips three of four pixels.

    As in their released models, and consistent with the multiply-adds in Table 1.
    """

    stride_at = "conv1"


def stage(
    block: Callable[..., torch.nn.Module],
    in_channels: int,
    channels: int,
    num_blocks: int,
    stride: int,
    shortcut: str,
    nn: ModuleType,
) -> torch.nn.Sequential:
    """Blocks with the same output size; the first has the stride and changes the channels."""
    blocks = [block(in_channels, channels, stride, shortcut, nn)]
    for _ in range(1, num_blocks):
        blocks.append(block(blocks[-1].out_channels, channels, 1, shortcut, nn))
    return nn.Sequential(*blocks)


def width(blocks: torch.nn.Sequential) -> int:
    """Output channels of a stage."""
    channels = blocks[-1].out_channels
    assert isinstance(channels, int)
    return channels


def make_shortcut(
    option: str, in_channels: int, out_channels: int, stride: int, nn: ModuleType
) -> torch.nn.Module:
    """The shortcut around F (section 3.3): the identity if F preserves the shape, otherwise

    A: every stride-th pixel, and channels of zeros; no parameters;
    B: a 1 x 1 convolution and batch normalisation;
    C: as B, and also if F preserves the shape.
    """
    if option not in ("A", "B", "C"):
        raise ValueError(f'no shortcut "{option}": use "A", "B" or "C"')
    changes = stride != 1 or in_channels != out_channels
    if option == "C" or (option == "B" and changes):
        return nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
            nn.BatchNorm2d(out_channels),
        )
    return ZeroPadding(in_channels, out_channels, stride) if changes else nn.Identity()


class ZeroPadding(torch.nn.Module):
    """Shortcut A: every stride-th pixel of every stride-th row, and added channels of zeros.

    The paper does not say where the zeros are added.  Here they are added in equal parts before and
    after, as in akamaster/pytorch_resnet_cifar10; in Facebook's fb.resnet.torch, after.  The two
    networks differ only in the order of their channels.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (out_channels - in_channels) // 2
        self.after = out_channels - in_channels - self.before

    def forward(self, x: Tensor) -> Tensor:  # in_channels x H x W
        x = x[:, :, :: self.stride, :: self.stride]  # in_channels x H/stride x W/stride
        return torch.nn.functional.pad(x, (0, 0, 0, 0, self.before, self.after))  # out_channels

    def extra_repr(self) -> str:
        return f"stride={self.stride}, before={self.before}, after={self.after}"


def he_initialisation(network: torch.nn.Module) -> None:
    """Filters normal with variance 2 / (K_h K_w C_out): He et al., arXiv:1502.01852, section 2.2.

    Of the two forms given there this is the backward one (fan-out), which preserves the scale of
    gradients, as in torchvision and fb.resnet.torch.  The rest is torch.nn's default: gamma 1,
    beta 0, linear layers uniform.
    """
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def zero_last_gammas(network: torch.nn.Module) -> None:
    """Initialise every block as its shortcut."""
    for block in network.modules():
        if isinstance(block, BasicBlock):
            torch.nn.init.zeros_(block.bn2.weight)
        elif isinstance(block, Bottleneck):
            torch.nn.init.zeros_(block.bn3.weight)


# Table 1; parameters (shortcut B) and multiply-adds for a 224 x 224 image
resnet18 = partial(ResNet, BasicBlock, (2, 2, 2, 2))  # 11,689,512   1.81 G
resnet34 = partial(ResNet, BasicBlock, (3, 4, 6, 3))  # 21,797,672   3.66 G
resnet50 = partial(ResNet, Bottleneck, (3, 4, 6, 3))  # 25,557,032   4.09 G
resnet101 = partial(ResNet, Bottleneck, (3, 4, 23, 3))  # 44,549,160   7.80 G
resnet152 = partial(ResNet, Bottleneck, (3, 8, 36, 3))  # 60,192,808  11.51 G

# The same parameters, with the authors' stride and the multiply-adds of Table 1
resnet50_v1 = partial(ResNet, BottleneckV1, (3, 4, 6, 3))  # 3.86 G
resnet101_v1 = partial(ResNet, BottleneckV1, (3, 4, 23, 3))  # 7.57 G
resnet152_v1 = partial(ResNet, BottleneckV1, (3, 8, 36, 3))  # 11.28 G
