"""Operators: defined once in plain torch, and computed by the first kernel that supports a call.

`@operator` registers a definition of ops/ as `torch.ops.convnets.<its name>` (interop/library.py).
Kernels are optional, what they compute is not: outputs have the shape, dtype and strides of the
definition's `empty`, whoever fills them.  An operator has no derivative of its own: an autograd
Function calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from itertools import takewhile
from typing import Any, NamedTuple, get_type_hints

from torch import Tensor

from ..interop import library
from ..interop.precision import conv_precision
from .geometry import Geometry, Pair

MAX_CHOICES = 4096  # that are remembered
LAYOUT = {"channels_last": bool, "output_size": Pair}  # what a definition need not take


class Kernel(NamedTuple):
    """A fast way to compute an operator, for some of its calls."""

    name: str
    compute: Callable[..., None]  # compute(*inputs, *outputs) fills the outputs
    supports: Callable[..., str | None]  # supports(*inputs): None, or why not


class Operator(NamedTuple):
    definition: Callable[..., Any]  # in plain torch
    empty: Callable[..., Any]  # of the inputs: the outputs, uninitialised
    types: dict[str, Any]  # of the inputs, by name
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
    compute it.

    Args:
        empty: new outputs of the right shape, dtype and strides, from the inputs.  The definition
            takes those inputs that it names; the others are about the outputs' layout.
        convolves: whether its products on a GPU have the precision of torch's convolutions.
    """

    def define(definition: Callable[..., Any]) -> Any:
        name, hints = definition.__name__, LAYOUT | get_type_hints(definition)
        types = {argument: hints[argument] for argument in signature(empty).parameters}
        takes = tuple([*types].index(argument) for argument in signature(definition).parameters)
        converted = _converter(types)

        def compute(*arguments: Any) -> Any:
            *inputs, kernels = arguments
            inputs = converted(inputs)
            kernel = choose(name, inputs) if kernels else None
            for calls in [*_records]:
                calls.append(_call(name, inputs, kernel, kernels))
            outputs = empty(*inputs)
            single = isinstance(outputs, Tensor)
            with library.without_autocast():
                if kernel is not None:
                    kernel.compute(*inputs, *([outputs] if single else outputs))
                    return outputs
                results = definition(*[inputs[at] for at in takes])
            pairs = [(results, outputs)] if single else zip(results, outputs, strict=True)
            placed = tuple(_placed(result, output) for result, output in pairs)
            return placed[0] if single else placed

        OPERATORS[name] = Operator(definition, empty, types, takes, compute)
        registered = library.register(
            name, types, hints["return"], compute, lambda *inputs: empty(*converted(inputs)),
            convolves=convolves,
        )  # fmt: skip
        registered.definition = definition  # in operations that torch can differentiate
        return registered

    return define


def _converter(types: dict[str, Any]) -> Callable[..., list]:
    """Geometries and sizes from lists of integers, all that a schema knows."""
    make = [
        (at, Geometry.unflatten if kind is Geometry else tuple)
        for at, kind in enumerate(types.values())
        if kind in (Geometry, Pair)
    ]

    def converted(inputs: Any) -> list:
        inputs = list(inputs)
        for at, kind in make:
            inputs[at] = kind(inputs[at])
        return inputs

    return converted


def _placed(result: Tensor, output: Tensor) -> Tensor:
    """The result, in the promised layout and dtype."""
    same = result.dtype == output.dtype and result.stride() == output.stride()
    return result if same else output.copy_(result)


def choose(name: str, inputs: list) -> Kernel | None:
    """The first kernel in an operator's row that supports the call; None for its definition.

    Remembered by all that `supports` may ask: layout, shape, dtype and device of the tensors, the
    other inputs themselves and, on a GPU, torch's flag for the precision of convolutions.
    """
    precision = conv_precision() if inputs[0].is_cuda else None
    key = name, precision, *[
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
    before = takewhile(lambda k: k is not kernel, TABLE.get(name, ()) if kernels else ())
    refused = {candidate.name: str(candidate.supports(*inputs)) for candidate in before}
    tensors = (v.detach() if isinstance(v, Tensor) else v for v in inputs)
    return Call(name, tuple(tensors), kernel, refused)
