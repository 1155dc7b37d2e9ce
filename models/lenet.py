"""LeNet-5 of the 1998 paper, and the network that is called LeNet today.

LeCun, Bottou, Bengio, Haffner: "Gradient-Based Learning Applied to Document Recognition",
Proc. IEEE 86(11), 1998.  Section II-B describes the network, II-C its loss, appendix A its
squashing function and initialisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import layers

from .glyphs import output_codes
from .sizing import feature_shape

# Table I: the S2 maps that each C3 map reads: six contiguous triples, six contiguous quadruples,
# three discontiguous quadruples, and all six; contiguity wraps around.
C3_TABLE = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip


class LeNet(torch.nn.Module):
    """LeNet as taught today: ReLU, max-pooling, all maps connected in C3, linear output.

    61,706 parameters.

    Args:
        num_classes: logits.
        in_channels: 1 for greyscale.
        image_size: pixels; 28 x 28 digits are padded to 32 by the data pipeline.
        nn: `layers` for ours, `torch.nn` for the built-in ones.
    """

    def __init__(
        self,
        num_classes: int = 10,
        *,
        in_channels: int = 1,
        image_size: int | Sequence[int] = 32,
        nn: ModuleType = layers,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 6, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        channels, height, width = feature_shape(self.features, in_channels, image_size)
        self.classifier = nn.Sequential(
            nn.Linear(channels * height * width, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:  # 1 x 32 x 32
        x = self.features(x)  # 16 x 5 x 5
        return self.classifier(torch.flatten(x, 1))  # 10


class LeNet5(torch.nn.Module):
    """LeNet-5 of 1998: 60,000 trainable parameters, Euclidean output units.

    `forward` returns logits = -y, where y are the paper's penalties, so that the class is the
    argmax, as for other networks.

    Differs: the paper trains with the stochastic diagonal Levenberg-Marquardt method, here any
    optimiser may be used; its bitmaps of characters are published only as a figure, so ours are
    redrawn (glyphs.py); classes beyond ten have random codes.

    Args: as `LeNet`.
    """

    def __init__(
        self,
        num_classes: int = 10,
        *,
        in_channels: int = 1,
        image_size: int | Sequence[int] = 32,
        nn: ModuleType = layers,
    ) -> None:
        super().__init__()
        self.c1 = nn.Sequential(nn.Conv2d(in_channels, 6, 5), Squash(nn))
        self.s2 = nn.Sequential(SubSampling(6, nn), Squash(nn))
        self.c3 = nn.Sequential(PartialConv2d(C3_TABLE, 5, nn), Squash(nn))
        self.s4 = nn.Sequential(SubSampling(16, nn), Squash(nn))
        maps = nn.Sequential(self.c1, self.s2, self.c3, self.s4)
        _, height, width = feature_shape(maps, in_channels, image_size)
        self.c5 = nn.Sequential(nn.Conv2d(16, 120, (height, width)), Squash(nn))
        self.f6 = nn.Sequential(nn.Linear(120, 84), Squash(nn))
        self.output = RadialBasis(output_codes(num_classes))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in +-2.4 / fan-in (appendix A); the fan-in of a sub-sampling unit is 4."""
        for module in self.modules():
            if isinstance(module, PartialConv2d):
                bounds = 2.4 / (module.fan_in * module.weight[0].numel())
                module.bias.data.uniform_(-1, 1).mul_(bounds)
                module.weight.data.uniform_(-1, 1).mul_(bounds[module.outputs][:, None, None])
            elif isinstance(module, SubSampling | torch.nn.Conv2d | torch.nn.Linear):
                fan_in = 4 if isinstance(module, SubSampling) else module.weight[0].numel()
                for parameter in module.parameters(recurse=False):
                    torch.nn.init.uniform_(parameter, -2.4 / fan_in, 2.4 / fan_in)

    def forward(self, x: Tensor) -> Tensor:  # 1 x 32 x 32
        x = self.c1(x)  # 6 x 28 x 28
        x = self.s2(x)  # 6 x 14 x 14
        x = self.c3(x)  # 16 x 10 x 10
        x = self.s4(x)  # 16 x 5 x 5
        x = self.c5(x)  # 120 x 1 x 1
        x = self.f6(torch.flatten(x, 1))  # 84
        return self.output(x)  # 10

    @staticmethod
    def criterion(label_smoothing: float, nn: ModuleType) -> torch.nn.Module:
        """The discriminative loss of section II-C."""
        return MAPLoss(label_smoothing=label_smoothing, nn=nn)


class Squash(torch.nn.Module):
    """f(a) = A tanh(S a), A = 1.7159, S = 2/3: f(1) = 1, and |f''| is largest at 1 (appendix A)."""

    A, S = 1.7159, 2 / 3

    def __init__(self, nn: ModuleType) -> None:
        super().__init__()
        self.tanh = nn.Tanh()

    def forward(self, a: Tensor) -> Tensor:
        return self.A * self.tanh(self.S * a)


class SubSampling(torch.nn.Module):
    """(sum of a 2 x 2 window) * weight + bias, with one weight and bias per map (section II-B).

    Differs: section II-A of the paper says average; the weight absorbs the factor of 4.
    """

    def __init__(self, channels: int, nn: ModuleType) -> None:
        super().__init__()
        self.sum = nn.AvgPool2d(2, divisor_override=1)
        self.weight = torch.nn.Parameter(torch.ones(channels))
        self.bias = torch.nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.sum(x) * self.weight[:, None, None] + self.bias[:, None, None]


class PartialConv2d(torch.nn.Module):
    """A convolution in which each output map reads only some of the input maps (Table I).

    Only existing connections have parameters: `weight` is (connections, K, K).
    """

    outputs: Tensor
    inputs: Tensor

    def __init__(self, table: Sequence[Sequence[int]], kernel_size: int, nn: ModuleType) -> None:
        super().__init__()
        self.table = [(output, i) for output, maps in enumerate(table) for i in maps]
        self.conv2d = nn.functional.conv2d
        self.shape = (len(table), 1 + max(i for _, i in self.table), kernel_size, kernel_size)
        self.weight = torch.nn.Parameter(torch.empty(len(self.table), kernel_size, kernel_size))
        self.bias = torch.nn.Parameter(torch.empty(len(table)))
        self.register_indices()

    def register_indices(self) -> None:
        """`table` as two buffers on the device of the weights."""
        outputs, inputs = torch.tensor(self.table, device=self.weight.device).T
        self.register_buffer("outputs", outputs.contiguous(), persistent=False)
        self.register_buffer("inputs", inputs.contiguous(), persistent=False)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        """Also the indices, which no file has: those of a network built on `meta` are empty."""
        super()._load_from_state_dict(*arguments)
        self.register_indices()

    @property
    def fan_in(self) -> Tensor:
        """The number of input maps of each output map."""
        connections = self.weight.new_ones(len(self.outputs))
        return torch.zeros_like(self.bias).index_add(0, self.outputs, connections)

    def filters(self) -> Tensor:
        """(C_out, C_in, K, K), zero where there is no connection."""
        zeros = self.weight.new_zeros(self.shape)
        return zeros.index_put((self.outputs, self.inputs), self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2d(x, self.filters(), self.bias)


class RadialBasis(torch.nn.Module):
    """Euclidean output units: logit_i = -y_i = -sum over j of (x_j - code_ij)^2 (section II-B)."""

    codes: Tensor

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        self.register_buffer("codes", codes)

    def forward(self, x: Tensor) -> Tensor:
        return -(x.unsqueeze(1) - self.codes).square().sum(2)


class MAPLoss(torch.nn.Module):
    """E = mean of  y_target + log(exp(-j) + sum over i of exp(-y_i))  (section II-C).

    The constant j > 0 stands for a "rubbish" class, so that penalties that are already large are
    not increased further.  This is the cross-entropy over the logits -y and one more logit, -j.
    The paper does not give j; 10 was chosen by experiment (docs/results.md).
    """

    def __init__(
        self, rubbish: float = 10.0, label_smoothing: float = 0.0, nn: ModuleType = layers
    ) -> None:
        super().__init__()
        self.rubbish = rubbish
        self.cross_entropy = nn.CrossEntropyLoss(label_smoothing=label_smoothing)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        rubbish = logits.new_full((len(logits), 1), -self.rubbish)
        if targets.is_floating_point():  # probabilities, as of mixed images: no image is rubbish
            targets = F.pad(targets, (0, 1))
        return self.cross_entropy(torch.cat((logits, rubbish), 1), targets)
