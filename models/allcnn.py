"""The all convolutional net, allcnn_c, and the three networks that it is compared with.

Springenberg, Dosovitskiy, Brox, Riedmiller: "Striving for Simplicity: The All Convolutional Net",
arXiv:1412.6806; the chapter's "Getting rid of pooling".  Base model C (Table 1) halves the image
twice by max-pooling.  Table 2 compares replacements of the pooling:

    model_c          conv conv pool            the base model
    strided_cnn_c    conv conv/2               the preceding convolution has the stride
    convpool_cnn_c   conv conv conv pool       for comparison: one more convolution, and pooling
    allcnn_c         conv conv conv/2          that convolution instead of the pooling

The last one is the best on CIFAR-10, with 9.08 % error; model_c has 9.74 % (Table 3, without
augmentation).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import ModuleType

import torch
from torch import Tensor

import layers

from .sizing import feature_shape


class AllCNN(torch.nn.Module):
    """Two blocks of 96 and 192 filters, then one 3 x 3 and two 1 x 1 convolutions.

    Args:
        form: the layers of a block: "conv", "conv/2" (stride 2) and "pool", all 3 x 3.
        num_classes: logits.
        in_channels: 3 for colour.
        image_size: pixels, at least 9.
        nn: `layers` for ours, `torch.nn` for the built-in ones.
    Raises:
        ValueError: the image is too small.

    Dropout is 0.2 on the image and 0.5 after each pooling or its replacement (section 3), which we
    take to be the strided convolution also in strided_cnn_c.  The paper gives no padding, only
    6 x 6 maps at the end.  As in a Caffe port (mateuszbuda/ALL-CNN), padding is 1, but 0 in the
    last 3 x 3 convolution, and the class maps pass a ReLU before they are averaged.  Pooling pads
    by 1, like the convolution that replaces it.
    """

    def __init__(
        self,
        form: Sequence[str],
        num_classes: int = 10,
        *,
        in_channels: int = 3,
        image_size: int | Sequence[int] = 32,
        nn: ModuleType = layers,
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.2)
        self.block1 = block(form, in_channels, 96, nn)
        self.block2 = block(form, 96, 192, nn)
        self.classifier = nn.Sequential(
            nn.Conv2d(192, 192, 3),
            nn.ReLU(),
            nn.Conv2d(192, 192, 1),
            nn.ReLU(),
            nn.Conv2d(192, num_classes, 1),
            nn.ReLU(),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        maps = nn.Sequential(self.block1, self.block2, self.classifier)
        feature_shape(maps, in_channels, image_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """He et al. 2015 for the hidden layers; small weights and biases of 1 in the last one.

        The paper does not give the initialisation, and reimplementations report networks that stay
        at 90 % error.  Weights with variance 2/fan-in preserve the scale of activations through
        nine layers with ReLU and without normalisation.  In the last layer that is too large: it
        has a ReLU as well, and a class that is 0 for all images has no gradient.  There weights
        are a tenth as large and biases are 1, so that all classes start active and equal.
        """
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.zeros_(parameter)
            else:
                torch.nn.init.kaiming_normal_(parameter, nonlinearity="relu")
        last = self.classifier[-2]
        last.weight.data.mul_(0.1)
        torch.nn.init.ones_(last.bias)

    def forward(self, x: Tensor) -> Tensor:  # 3 x 32 x 32
        x = self.block1(self.dropout(x))  # 96 x 16 x 16
        x = self.block2(x)  # 192 x 8 x 8
        x = self.classifier(x)  # 10 x 6 x 6
        return torch.flatten(self.avgpool(x), 1)  # 10


def block(form: Sequence[str], in_channels: int, channels: int, nn: ModuleType) -> torch.nn.Module:
    """Layers of a `form` that halve the image, with ReLU, and dropout at the end."""
    parts: list[torch.nn.Module] = []
    for part in form:
        if part == "pool":
            parts.append(nn.MaxPool2d(3, stride=2, padding=1))
        else:
            stride = 2 if part == "conv/2" else 1
            parts += nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1), nn.ReLU()
            in_channels = channels
    return nn.Sequential(*parts, nn.Dropout(0.5))


# Table 2, with parameters and multiply-adds of a 32 x 32 image
model_c = partial(AllCNN, ("conv", "conv", "pool"))  # 954,730            228.3 M
strided_cnn_c = partial(AllCNN, ("conv", "conv/2"))  # 954,730            100.9 M
convpool_cnn_c = partial(AllCNN, ("conv", "conv", "conv", "pool"))  # 1,369,738  398.2 M
allcnn_c = partial(AllCNN, ("conv", "conv", "conv/2"))  # 1,369,738       270.8 M
