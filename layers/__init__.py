"""The layers of a convolutional network, under the names of `torch.nn`.

    import layers as nn          # ours
    import torch.nn as nn        # the built-in ones: same names, parameters and results

Every layer with a twin in torch.nn subclasses it and overrides `forward` alone.  Containers and
what has nothing to compute come from torch.nn itself.
"""

from torch.nn import Flatten, Identity, Module, ModuleList, Parameter, Sequential

from . import backends, functional
from .activation import ReLU, ScaledTanh, Tanh
from .adaptive_avg_pool import AdaptiveAvgPool2d
from .avg_pool import AvgPool2d
from .backends import reference
from .batch_norm import BatchNorm2d
from .conv import Conv2d
from .cross_entropy import CrossEntropyLoss
from .distributed.sync_batch_norm import SyncBatchNorm
from .dropout import Dropout
from .explain import explain
from .interop import flops as flops  # which register rules
from .interop import vmap as vmap
from .interop.twins import to_torch
from .linear import Linear
from .local_response_norm import LocalResponseNorm
from .locally_connected import LocallyConnected2d
from .lp_pool import LPPool2d
from .max_pool import MaxPool2d
from .max_unpool import MaxUnpool2d
from .ops import registry
from .softmax import LogSoftmax, Softmax

try:
    from .kernels import TABLE
except ModuleNotFoundError as error:  # without the folder the definitions compute
    if error.name != f"{__name__}.kernels":
        raise
else:
    registry.TABLE.update(TABLE)

__all__ = [
    "AdaptiveAvgPool2d", "AvgPool2d", "BatchNorm2d", "Conv2d", "CrossEntropyLoss", "Dropout",
    "Flatten", "Identity", "LPPool2d", "Linear", "LocalResponseNorm", "LocallyConnected2d",
    "LogSoftmax", "MaxPool2d", "MaxUnpool2d", "Module", "ModuleList", "Parameter", "ReLU",
    "ScaledTanh", "Sequential", "Softmax", "SyncBatchNorm", "Tanh", "backends", "explain",
    "functional", "reference", "to_torch",
]  # fmt: skip
