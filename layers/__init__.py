"""The layers of a convolutional network, under the names of `torch.nn`.

    import layers as nn          # ours
    import torch.nn as nn        # the built-in ones: same names, parameters and results

Every layer with a twin in torch.nn subclasses it and overrides `forward` alone.  Containers and
what has nothing to compute come from torch.nn itself.
"""

from torch.nn import Flatten, Identity, Module, ModuleList, Parameter, Sequential

from . import functional
from .activation import ReLU, Tanh
from .conv import Conv2d
from .linear import Linear
from .loss import CrossEntropyLoss
from .pooling import AvgPool2d, MaxPool2d

__all__ = [
    "AvgPool2d",
    "Conv2d",
    "CrossEntropyLoss",
    "Flatten",
    "Identity",
    "Linear",
    "MaxPool2d",
    "Module",
    "ModuleList",
    "Parameter",
    "ReLU",
    "Sequential",
    "Tanh",
    "functional",
]
