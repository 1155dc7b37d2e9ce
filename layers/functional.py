"""The layers as functions, under the names of `torch.nn.functional` (and `torch.nn.grad`)."""

from .activation import relu, scaled_tanh, tanh
from .adaptive_pooling import adaptive_avg_pool2d
from .batch_norm import batch_norm
from .conv import conv2d, conv2d_input, conv2d_weight
from .dropout import dropout
from .linear import linear, linear_input, linear_weight
from .locally_connected import locally_connected2d
from .loss import cross_entropy
from .norm_pooling import lp_pool2d
from .pooling import avg_pool2d, max_pool2d, max_pool2d_with_switches
from .response_norm import local_response_norm
from .softmax import log_softmax, softmax
from .unpooling import max_unpool2d

__all__ = [
    "adaptive_avg_pool2d",
    "avg_pool2d",
    "batch_norm",
    "conv2d",
    "conv2d_input",
    "conv2d_weight",
    "cross_entropy",
    "dropout",
    "linear",
    "linear_input",
    "linear_weight",
    "local_response_norm",
    "locally_connected2d",
    "log_softmax",
    "lp_pool2d",
    "max_pool2d",
    "max_pool2d_with_switches",
    "max_unpool2d",
    "relu",
    "scaled_tanh",
    "softmax",
    "tanh",
]
