"""Which kernel computes a call, and why not another: what the table of layers/kernels/ answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from . import functional
from .ops.registry import OPERATORS, Call, record


def explain(function: str, *args: Any, **kwargs: Any) -> None:
    """Print which kernels compute a function and its gradient, and why those above them do not.

        layers.explain("conv2d", x, weight, padding=1)

    The function is run, forward and backward, on the tensors given: that is what is reported.

    Args:
        function: a name in `layers.functional`.
        args, kwargs: what the function takes.
    Raises:
        ValueError: no such function.
    """
    if function not in functional.__all__:
        raise ValueError(f"no function {function!r}: use one of {', '.join(functional.__all__)}")
    compute = getattr(functional, function)
    with torch.inference_mode(False), torch.enable_grad(), record() as calls:
        given = signature(compute).bind(*args, **kwargs).arguments
        outputs = tree_leaves(compute(**{name: _copy(name, given[name]) for name in given}))
        differentiable = [y for y in outputs if isinstance(y, Tensor) and y.requires_grad]
        if differentiable:
            torch.autograd.backward(differentiable, [torch.ones_like(y) for y in differentiable])
    if not calls:
        print(f"{function} is computed by torch's operations alone")
    for call in calls:
        print(_report(call))


def _copy(name: str, value: Any) -> Any:
    """A tensor of the same values, to differentiate with respect to where that can be done."""
    if not isinstance(value, Tensor):
        return value
    floating = value.is_floating_point() or value.is_complex()
    statistics = name.startswith("running_")  # updated in place
    return value.detach().clone().requires_grad_(floating and not statistics)


def _report(call: Call) -> str:
    tensors = [value for value in call.inputs if isinstance(value, Tensor)]
    shapes = ", ".join(str(tuple(t.shape)) for t in tensors)
    if call.kernel:
        taken = f"{call.kernel.name}, in {source_file(call.kernel.compute)}"
    else:
        taken = f"its definition in {source_file(OPERATORS[call.operator].definition)}"
    lines = [f"{call.operator} {shapes} {str(tensors[0].dtype).removeprefix('torch.')}: {taken}"]
    return "\n    ".join(lines + [f"not {name}: {why}" for name, why in call.refused.items()])


def source_file(compute: Callable[..., Any]) -> str:
    """The file of a kernel or a definition, as layers/kernels/conv_im2col.py."""
    function = compute.func if isinstance(compute, partial) else compute
    return f"{function.__module__.replace('.', '/')}.py"
