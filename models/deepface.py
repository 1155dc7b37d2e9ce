"""DeepFace: three locally connected layers, whose weights are not shared between positions.

Taigman, Yang, Ranzato, Wolf: "DeepFace: Closing the Gap to Human-Level Performance in Face
Verification", CVPR 2014.  Section 3 describes the network, Fig. 2 its sizes, section 5.2 its
training.  Its faces are aligned first, so that an eye is always in the same place, and filters
that are specific to the place pay off.  The chapter: "it is common to relax the parameter sharing
scheme".
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor

import layers
from layers import LocallyConnected2d

from .sizing import feature_shape


class DeepFace(torch.nn.Module):
    """Two convolutions, three locally connected layers, two linear ones: 118,923,774 parameters.

    The names are the paper's: C convolution, M max-pooling, L locally connected, F fully
    connected.

    Args:
        num_classes: logits; the paper's 4,030 people.
        in_channels: 3 for colour.
        image_size: pixels, at least 72; the number of parameters depends on it.
        init: "kaiming" or "paper"; see `reset_parameters`.
        nn: `layers` for ours, `torch.nn` for the built-in ones.  torch.nn has no locally
            connected layer: L4, L5 and L6 are always ours.
    Raises:
        ValueError: the image is too small, or an unknown `init`.

    The paper gives the filters and the sizes of all maps, ReLU after every layer except F8, and
    dropout on F7 only.  Assumed here: M2 rounds up (142 pixels give the 71 of Fig. 2); C3 reads all
    32 maps of M2 (section 3 says "9x9x16"); every position has its own biases; dropout is 0.5 and
    follows the ReLU.  Not included: the alignment of faces, and the normalisation of F7 with which
    the paper compares two faces.

    Two of the paper's figures cannot be reproduced.  "More than 120 million parameters": its sizes
    give 118.9 million, 62.8 of them in L4.  (Over 95 % in L and F: 99.96 %.)  "The output of L6 is
    influenced by a 74x74x3 patch": it is 73 x 73.
    """

    def __init__(
        self,
        num_classes: int = 4030,
        *,
        in_channels: int = 3,
        image_size: int | Sequence[int] = 152,
        init: Literal["kaiming", "paper"] = "kaiming",
        nn: ModuleType = layers,
    ) -> None:
        super().__init__()
        self.c1 = nn.Sequential(nn.Conv2d(in_channels, 32, 11), nn.ReLU())
        self.m2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.c3 = nn.Sequential(nn.Conv2d(32, 16, 9), nn.ReLU())
        # A locally connected layer needs the image size; convolutions with its geometry give it.
        geometry = nn.Sequential(
            self.c1, self.m2, self.c3,
            nn.Conv2d(16, 16, 9), nn.Conv2d(16, 16, 7, stride=2), nn.Conv2d(16, 16, 5),
        )  # fmt: skip
        channels, height, width = feature_shape(geometry, in_channels, image_size)
        size4, size5, size6 = (
            feature_shape(geometry[:depth], in_channels, image_size)[1:] for depth in (3, 4, 5)
        )
        self.l4 = nn.Sequential(LocallyConnected2d(16, 16, size4, 9), nn.ReLU())
        self.l5 = nn.Sequential(LocallyConnected2d(16, 16, size5, 7, stride=2), nn.ReLU())
        self.l6 = nn.Sequential(LocallyConnected2d(16, 16, size6, 5), nn.ReLU())
        self.f7 = nn.Sequential(
            nn.Linear(channels * height * width, 4096), nn.ReLU(), nn.Dropout(0.5)
        )
        self.f8 = nn.Linear(4096, num_classes)
        self.reset_parameters(init)

    def reset_parameters(self, init: str) -> None:
        """Normal weights and constant biases, of one of two kinds.

        "paper" (section 5.2): standard deviation 0.01, biases 0.5.  "kaiming": variance 2/fan-in
        (He et al. 2015), F8 as in the paper, biases 0.  With the paper's initialisation the
        difference between two images shrinks from layer to layer, most of all for small images,
        whose layers have few inputs: digits of 72 pixels were not learnt.

        Raises:
            ValueError: an unknown `init`.
        """
        if init not in ("kaiming", "paper"):
            raise ValueError(f'init must be "kaiming" or "paper", got {init!r}')
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.constant_(parameter, 0 if init == "kaiming" else 0.5)
            elif init == "paper" or name == "f8.weight":
                torch.nn.init.normal_(parameter, std=0.01)
            else:
                fan_in = parameter.shape[3] if name[0] == "l" else parameter[0].numel()
                torch.nn.init.normal_(parameter, std=(2 / fan_in) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:  # 3 x 152 x 152
        x = self.c1(x)  # 32 x 142 x 142
        x = self.m2(x)  # 32 x 71 x 71
        x = self.c3(x)  # 16 x 63 x 63
        x = self.l4(x)  # 16 x 55 x 55
        x = self.l5(x)  # 16 x 25 x 25
        x = self.l6(x)  # 16 x 21 x 21
        x = self.f7(torch.flatten(x, 1))  # 4096
        return self.f8(x)  # 4030
