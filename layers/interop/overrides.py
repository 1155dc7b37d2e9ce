"""torch's protocol for tools that stand between a function and its computation.

`torch.fx` traces with arguments that are no tensors, a subclass of Tensor or a `TorchFunctionMode`
wants to see every call: each defines `__torch_function__`, and torch.nn.functional asks for it
first.  So do ours.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from torch.overrides import handle_torch_function, has_torch_function

P = ParamSpec("P")
R = TypeVar("R")


def overridable(function: Callable[P, R]) -> Callable[P, R]:
    """The function, for `__torch_function__` to take its place: one call to whoever is watching."""

    @wraps(function)
    def public(*args: P.args, **kwargs: P.kwargs) -> R:
        operands = (*args, *kwargs.values())
        if has_torch_function(operands):
            return handle_torch_function(public, operands, *args, **kwargs)
        return function(*args, **kwargs)

    return public
