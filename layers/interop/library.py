"""Operators in torch's own registry, where its compiler, exporter, FakeTensors and vmap find them.

An operator is one opaque node there: `torch.ops.convnets.<name>`.  (`torch.library.custom_op` does
the same with more layers of Python, which a small network can feel.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_origin

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .precision import in_conv_precision

LIBRARY = torch.library.Library("convnets", "FRAGMENT")
SCHEMA_TYPES = {
    Tensor: "Tensor", tuple: "SymInt[]", int: "SymInt", float: "float", bool: "bool", str: "str",
    torch.dtype: "ScalarType",
}  # fmt: skip
NO_DERIVATIVES = (
    "an exported network has no derivatives: export layers.to_torch(network) to differentiate it"
)
AUTOCAST = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)
for _key in ("AutocastCUDA", "AutocastMPS", "AutocastXPU", "AutocastPrivateUse1"):
    AUTOCAST |= torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, _key))


def register(
    name: str,
    types: dict[str, Any],
    result: Any,
    compute: Callable[..., Any],
    empty: Callable[..., Any],
    *,
    convolves: bool,
) -> Any:
    """Register an operator (..., kernels); returns what calls it.

    Args:
        types: of its arguments, by name, but for the last, `kernels`.
        result: the type of what it returns.
        compute: of all the arguments: the outputs.
        empty: of the arguments without `kernels`: the outputs, uninitialised.
        convolves: whether its products on a GPU have the precision of torch's convolutions.
    """
    full_name = f"convnets::{name}"
    torch.library.define(full_name, _schema(types, result))
    torch.library.impl(full_name, "default", compute)
    if convolves:
        torch.library.impl(full_name, "CUDA", in_conv_precision(compute))
    torch.library.register_fake(full_name, lambda *arguments: empty(*arguments[:-1]))
    registered = getattr(torch.ops.convnets, name).default
    LIBRARY.impl(name, _without_derivatives(registered), "Autograd")
    return registered


def without_autocast() -> Any:
    """Inside this block autocast converts nothing.

    It has been seen to in forward, for backward as well, wherever that runs.
    """
    return torch._C._ExcludeDispatchKeyGuard(AUTOCAST)


def _schema(types: dict[str, Any], result: Any) -> str:
    """(Tensor x, SymInt[] geometry, ..., bool kernels) -> Tensor."""
    arguments = "".join(f"{_schema_type(kind)} {name}, " for name, kind in types.items())
    outputs = "Tensor" if result is Tensor else f"({', '.join(map(_schema_type, result.__args__))})"
    return f"({arguments}bool kernels) -> {outputs}"


def _schema_type(kind: Any) -> str:
    """A Geometry, or a pair of sizes, is a list of integers to a schema."""
    is_tuple = issubclass(get_origin(kind) or kind, tuple)
    return SCHEMA_TYPES[tuple if is_tuple else kind]


class NotDifferentiable(torch.autograd.Function):
    """An operator that no Function of ours calls, as in an exported program, which has none."""

    @staticmethod
    def forward(operator: Callable[..., Any], *inputs: Any) -> Any:
        return operator(*inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> None:
        raise NotImplementedError(NO_DERIVATIVES)


def _without_derivatives(registered: Any) -> Callable[..., Any]:
    def call(*inputs: Any) -> Any:
        """What autograd calls: of what a kernel does inside, nothing is recorded."""
        if torch.is_grad_enabled() and torch._C._any_requires_grad(*inputs):
            return NotDifferentiable.apply(registered, *inputs)
        if forward_ad._current_level >= 0 and any(map(_has_tangent, inputs)):
            raise NotImplementedError(NO_DERIVATIVES)
        with torch._C._AutoDispatchBelowADInplaceOrView():  # a view inside is none outside
            return registered._op(*inputs)

    return call


def _has_tangent(value: Any) -> bool:
    return isinstance(value, Tensor) and forward_ad.unpack_dual(value).tangent is not None
