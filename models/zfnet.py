"""ZFNet: AlexNet improved by visualising it.

Zeiler, Fergus: "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901, 2013.
Fig. 3 and section 3 describe the network and its training, Table 3 its variants.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import ModuleType

import torch
from torch import Tensor

import layers

from .alexnet import CeilPadding, response_norm
from .initialization import weighted_layers
from .sizing import feature_shape


class ZFNet(torch.nn.Module):
    """The network of Fig. 3: one tower, smaller windows and strides than AlexNet's.

    62,357,608 parameters.

    Visualised, AlexNet's first layer lacks mid frequencies and its second shows aliasing (section
    4.1), so the first windows are 7 x 7 instead of 11 x 11, with stride 2 instead of 4.  The order
    within a layer is ReLU, pooling, normalisation; AlexNet's is ReLU, normalisation, pooling.

    Args:
        num_classes: logits.
        in_channels: 3 for colour.
        image_size: pixels; the paper's is 224.
        filters: of conv3, conv4 and conv5; (512, 1024, 512) is the paper's best single network
            (Tables 2 and 3), here `zfnet_512`.
        dropout: probability of zeroing a unit of fc6 and fc7.
        nn: `layers` for ours, `torch.nn` for the built-in ones.

    The paper gives neither the padding nor the rounding that lead to 110, 55, 26, 13 and 6 pixels;
    ours are those of cuda-convnet, on which it is based: sizes round up, and windows extend beyond
    the bottom and right border.  Nor does it give the constants of its contrast normalisation
    across feature maps; ours are AlexNet's.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        image_size: int | Sequence[int] = 224,
        filters: tuple[int, int, int] = (384, 384, 256),
        dropout: float = 0.5,
        nn: ModuleType = layers,
    ) -> None:
        super().__init__()
        conv3, conv4, conv5 = filters
        self.features = nn.Sequential(  # 3 x 224 x 224
            CeilPadding(7, stride=2),  # 3 x 225 x 225
            nn.Conv2d(in_channels, 96, 7, stride=2),  # 96 x 110 x 110
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),  # 96 x 55 x 55
            response_norm(nn),
            CeilPadding(5, stride=2),  # no padding needed: 96 x 55 x 55
            nn.Conv2d(96, 256, 5, stride=2),  # 256 x 26 x 26
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),  # 256 x 13 x 13
            response_norm(nn),
            nn.Conv2d(256, conv3, 3, padding=1),  # 384 x 13 x 13
            nn.ReLU(),
            nn.Conv2d(conv3, conv4, 3, padding=1),  # 384 x 13 x 13
            nn.ReLU(),
            nn.Conv2d(conv4, conv5, 3, padding=1),  # 256 x 13 x 13
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
            nn.Linear(4096, num_classes),
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights N(0, 0.01^2), as we read the paper's 10^-2; biases 0 (section 3)."""
        for layer in weighted_layers(self):
            torch.nn.init.normal_(layer.weight, std=0.01)
            torch.nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:  # 3 x 224 x 224
        x = self.features(x)  # 256 x 6 x 6
        return self.classifier(torch.flatten(x, 1))  # 1000

    def after_step(self) -> None:
        """Called by the training loop after every update."""
        renormalize_filters(self)


zfnet_512 = partial(ZFNet, filters=(512, 1024, 512))  # 107,627,624 parameters


@torch.no_grad()
def renormalize_filters(model: torch.nn.Module, radius: float = 0.1) -> None:
    """Scale every convolution filter whose RMS exceeds `radius` down to it.

        w <- w min(1, radius / rms),    rms = sqrt(mean of w^2 over the filter's C_in x K_h x K_w)

    Section 3: otherwise a few filters of the first layer, whose input is roughly in [-128, 128],
    come to dominate.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            rms = module.weight.square().mean((1, 2, 3), keepdim=True).sqrt()
            module.weight.mul_(radius / rms.clamp(min=radius))
