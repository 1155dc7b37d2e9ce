"""The layers as functions, under the names of `torch.nn.functional` (and `torch.nn.grad`)."""

from .activation import relu, tanh
from .conv import conv2d, conv2d_input, conv2d_weight
from .linear import linear, linear_input, linear_weight
from .loss import cross_entropy
from .pooling import avg_pool2d, max_pool2d, max_pool2d_with_switches

__all__ = [
    "avg_pool2d",
    "conv2d",
    "conv2d_input",
    "conv2d_weight",
    "cross_entropy",
    "linear",
    "linear_input",
    "linear_weight",
    "max_pool2d",
    "max_pool2d_with_switches",
    "relu",
    "tanh",
]
