"""The layers as functions, under the names of `torch.nn.functional` (and `torch.nn.grad`)."""

from .activation import relu, scaled_tanh, tanh
from .adaptive_avg_pool import adaptive_avg_pool2d
from .avg_pool import avg_pool2d
from .batch_norm import batch_norm
from .conv import conv2d, conv2d_input, conv2d_weight
from .cross_entropy import cross_entropy
from .dropout import dropout
from .linear import linear, linear_input, linear_weight
from .local_response_norm import local_response_norm
from .locally_connected import locally_connected2d
from .lp_pool import lp_pool2d
from .max_pool import max_pool2d, max_pool2d_with_switches
from .max_unpool import max_unpool2d
from .softmax import log_softmax, softmax

__all__ = [
    "adaptive_avg_pool2d", "avg_pool2d", "batch_norm", "conv2d", "conv2d_input",
    "conv2d_weight", "cross_entropy", "dropout", "linear", "linear_input", "linear_weight",
    "local_response_norm", "locally_connected2d", "log_softmax", "lp_pool2d", "max_pool2d",
    "max_pool2d_with_switches", "max_unpool2d", "relu", "scaled_tanh", "softmax", "tanh",
]  # fmt: skip
