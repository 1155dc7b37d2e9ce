"""A network whose weights are fake tensors: it runs, but takes no memory and computes no number."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

Model = torch.nn.Module | Callable[[], torch.nn.Module]  # a network, or what builds it


def built(model: Model) -> torch.nn.Module:
    """The network; one that is yet to be built, without numbers."""
    if isinstance(model, torch.nn.Module):
        return model
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")  # the network that is used will give them
        return model()


@contextmanager
def fake_network(model: Model, dtype: torch.dtype) -> Iterator[torch.nn.Module]:
    """A copy of the network, of fake tensors on a CPU; in the block, all new tensors are fake."""
    network, threads = built(model), torch.get_num_threads()
    torch.set_num_threads(1)  # as `memory.peak` does
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield copy.deepcopy(network, {id(t): _fake_like(t, dtype) for t in _tensors(network)})
    finally:
        torch.set_num_threads(threads)


def _tensors(model: torch.nn.Module) -> Iterator[Tensor]:
    """Parameters, buffers, and other tensors that modules have."""
    for module in model.modules():
        for held in (vars(module), module._parameters, module._buffers):
            yield from (value for value in held.values() if isinstance(value, Tensor))


def _fake_like(tensor: Tensor, weight_dtype: torch.dtype) -> Tensor:
    dtype = tensor.dtype
    if dtype.is_floating_point:  # under autocast weights are float32
        dtype = weight_dtype if weight_dtype.itemsize >= 4 else torch.float32
    like = torch.empty_strided(tensor.shape, tensor.stride(), dtype=dtype)
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(like, requires_grad=tensor.requires_grad)
    return like


def is_fake(model: torch.nn.Module) -> bool:
    return any(isinstance(parameter, FakeTensor) for parameter in model.parameters())
