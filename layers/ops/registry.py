"""Operators: defined once in plain torch, and computed by the first kernel that supports a call.

`@operator` registers a definition of ops/ as `torch.ops.convnets.<its name>`: one opaque node to
`torch.compile`, `torch.export` and FakeTensor.  A call is computed by the first kernel of its row
in `TABLE` that supports it, or else by the definition.  Kernels are optional, what they compute is
not: outputs have the shape, dtype and strides of the definition's `empty`, whoever fills them.

An operator has no derivative of its own: an autograd Function calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any, NamedTuple, get_type_hints

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .geometry import Geometry, Pair
from .precision import in_conv_precision

LIBRARY = torch.library.Library("convnets", "FRAGMENT")
MAX_CHOICES = 4096  # that are remembered
AUTOCAST = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)
for _key in ("AutocastCUDA", "AutocastMPS", "AutocastXPU", "AutocastPrivateUse1"):
    AUTOCAST |= torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, _key))

SCHEMA_TYPES = {
    Tensor: "Tensor", Geometry: "SymInt[]", Pair: "SymInt[]", int: "SymInt", float: "float",
    bool: "bool", str: "str", torch.dtype: "ScalarType",
}  # fmt: skip


class Kernel(NamedTuple):
    """A fast way to compute an operator, for some of its calls."""

    name: str
    compute: Callable[..., None]  # compute(*inputs, *outputs) fills the outputs
    supports: Callable[..., str | None]  # supports(*inputs): None, or why not


class Operator(NamedTuple):
    definition: Callable[..., Any]  # in plain torch
    empty: Callable[..., Any]  # of the inputs: the outputs, uninitialised
    takes: tuple[int, ...]  # which of the inputs the definition takes: those that it names
    compute: Callable[..., Any]  # of the inputs and `kernels`: the outputs


class Call(NamedTuple):
    """A call that was computed while `record` was on."""

    operator: str
    inputs: tuple
    kernel: Kernel | None  # None: by the definition
    refused: dict[str, str]  # by kernels that are preferred to it: why


OPERATORS: dict[str, Operator] = {}
TABLE: dict[str, tuple[Kernel, ...]] = {}  # kernels/ fills it, if it is there

UNKNOWN: Any = object()
_choices: dict[tuple, Kernel | None] = {}
_records: list[list[Call]] = []


def operator(
    *, empty: Callable[..., Any], convolves: bool = False
) -> Callable[[Callable[..., Any]], Any]:
    """Register a definition; its name is the registered operator from then on.

    The operator takes the arguments of `empty`, and one more, `kernels`: whether kernels may
    compute it.  (`torch.library.custom_op` does the same with more layers of Python, which a small
    network can feel.)

    Args:
        empty: new outputs of the right shape, dtype and strides, from the inputs.  The definition
            takes those inputs that it names; those it does not, such as `channels_last`, are about
            the layout, or for kernels.
        convolves: whether its products on a GPU have the precision of torch's convolutions.
    """

    def register(definition: Callable[..., Any]) -> Any:
        name, types = definition.__name__, get_type_hints(empty)
        del types["return"]
        convert = _converter(types)
        takes = tuple([*types].index(name) for name in signature(definition).parameters)

        def compute(*arguments: Any) -> Any:
            *inputs, kernels = arguments
            inputs = convert(inputs)
            kernel = choose(name, inputs) if kernels else None
            for calls in [*_records]:
                calls.append(_call(name, inputs, kernel, kernels))
            outputs = empty(*inputs)
            single = isinstance(outputs, Tensor)
            # Autocast has been seen to in forward, for backward as well, wherever that runs.
            with torch._C._ExcludeDispatchKeyGuard(AUTOCAST):
                if kernel is not None:
                    kernel.compute(*inputs, *([outputs] if single else outputs))
                    return outputs
                results = definition(*[inputs[at] for at in takes])
            pairs = [(results, outputs)] if single else zip(results, outputs, strict=True)
            placed = tuple(_placed(result, output) for result, output in pairs)
            return placed[0] if single else placed

        OPERATORS[name] = Operator(definition, empty, takes, compute)
        full_name = f"convnets::{name}"
        torch.library.define(full_name, _schema(types, get_type_hints(definition)["return"]))
        torch.library.impl(full_name, "default", compute)
        if convolves:
            torch.library.impl(full_name, "CUDA", in_conv_precision(compute))
        torch.library.register_fake(full_name, lambda *inputs: empty(*convert(inputs[:-1])))
        registered = getattr(torch.ops.convnets, name).default
        LIBRARY.impl(name, _without_derivatives(registered), "Autograd")
        registered.definition = definition  # in operations that torch can differentiate
        return registered

    return register


def _schema(types: dict[str, Any], result: Any) -> str:
    """(Tensor x, SymInt[] geometry, ..., bool kernels) -> Tensor."""
    arguments = "".join(f"{SCHEMA_TYPES[kind]} {name}, " for name, kind in types.items())
    single = result is Tensor
    outputs = "Tensor" if single else f"({', '.join(SCHEMA_TYPES[r] for r in result.__args__)})"
    return f"({arguments}bool kernels) -> {outputs}"


def _converter(types: dict[str, Any]) -> Callable[..., list]:
    """Geometries and sizes from lists of integers, all that a schema knows."""
    make = [
        (at, Geometry.unflatten if kind is Geometry else tuple)
        for at, kind in enumerate(types.values())
        if kind in (Geometry, Pair)
    ]

    def convert(inputs: Any) -> list:
        inputs = list(inputs)
        for at, kind in make:
            inputs[at] = kind(inputs[at])
        return inputs

    return convert


def _placed(result: Tensor, output: Tensor) -> Tensor:
    """The result, in the promised layout and dtype."""
    same = result.dtype == output.dtype and result.stride() == output.stride()
    return result if same else output.copy_(result)


def choose(name: str, inputs: list) -> Kernel | None:
    """The first kernel in an operator's row that supports the call; None for its definition.

    Remembered by all that `supports` may ask: layout, shape, dtype and device of the tensors, and
    the other inputs themselves.
    """
    key = name, *[
        (v.dtype, v.device, v.shape, v.stride()) if isinstance(v, Tensor) else v for v in inputs
    ]  # fmt: skip
    kernel = _choices.get(key, UNKNOWN)
    if kernel is UNKNOWN:
        supporting = (k for k in TABLE.get(name, ()) if k.supports(*inputs) is None)
        kernel = next(supporting, None)
        if len(_choices) >= MAX_CHOICES:
            _choices.clear()
        _choices[key] = kernel
    return kernel


@contextmanager
def record() -> Iterator[list[Call]]:
    """Collect every call of an operator, with the kernel that computed it and those that did not.

    Of all threads of the process: a backward pass runs on threads of its own.
    """
    calls: list[Call] = []
    _records.append(calls)
    try:
        yield calls
    finally:
        _records[:] = [each for each in _records if each is not calls]


def _call(name: str, inputs: list, kernel: Kernel | None, kernels: bool) -> Call:
    refused = {}
    for candidate in TABLE.get(name, ()) if kernels else ():
        if candidate is kernel:
            break
        refused[candidate.name] = str(candidate.supports(*inputs))
    tensors = (v.detach() if isinstance(v, Tensor) else v for v in inputs)
    return Call(name, tuple(tensors), kernel, refused)


NO_DERIVATIVES = (
    "an exported network has no derivatives: export layers.to_torch(network) to differentiate it"
)


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
