"""The same network of torch.nn's own layers, for tools that look up exact types.

Counters (thop), attribution by layers (captum's DeepLift), quantisation and the like keep a table
of what to do with a torch.nn.Conv2d, and pass over a subclass.
"""

from __future__ import annotations

import copy
from types import FunctionType
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.parametrize import is_parametrized

M = TypeVar("M", bound=torch.nn.Module)
PACKAGE = __name__.partition(".")[0]  # layers


def to_torch(model: M) -> M:
    """A copy in which every layer of ours is its torch.nn twin; parameters and buffers are shared.

    To train either is to train both.  Training mode, hooks and all else are copied.  What has no
    twin (`LocallyConnected2d`, `ScaledTanh`) stays, and so does a subclass of your own.  A function
    of ours that a module holds as an attribute becomes torch's of that name, if there is one.

    Functions inside a `functools.partial` or a container stay ours.

    Differs: where windows overlap, torch's `MaxUnpool2d` keeps one value, and ours adds them up;
    torch's `LPPool2d` is wrong for odd powers of negative numbers.
    """
    held = (value for module in model.modules() for value in vars(module).values())
    others = (value for value in held if isinstance(value, Tensor))  # as of a pruned layer
    shared = (*model.parameters(), *model.buffers(), *others)
    model = copy.deepcopy(model, {id(tensor): tensor for tensor in shared})
    for module in model.modules():
        kind = type(module)
        if is_parametrized(module):  # its class is made for it, from that of the layer
            if twin := _twin(kind.__base__):
                module.__class__ = type(kind.__name__, (twin,), {**vars(kind)})
        elif twin := _twin(kind):
            module.__class__ = twin
        for name, value in [*vars(module).items()]:
            if isinstance(value, FunctionType) and _is_ours(value):
                setattr(module, name, getattr(F, value.__name__, value))
    return model


def _twin(kind: type | None) -> type | None:
    """The layer of torch.nn that a layer of ours is derived from."""
    if kind is None or not _is_ours(kind):
        return None
    while _is_ours(kind):  # SyncBatchNorm is derived from our BatchNorm2d
        kind = kind.__base__
        assert kind is not None
    return None if kind is torch.nn.Module else kind


def _is_ours(thing: type | FunctionType) -> bool:
    return str(thing.__module__).startswith(f"{PACKAGE}.")
