"""torch.autograd.Function, quick to call, and as one node of a compiled graph."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch


class Function(torch.autograd.Function):
    """torch.autograd.Function, without its search for default arguments at every call.

    torch inspects and binds `forward`'s signature whenever a Function is applied, which costs more
    than a small activation.  Ours are always given every argument by position.  A `forward` may be
    a registered operator itself.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "forward" in vars(cls):
            cls.forward.__signature__ = _ByPosition()  # type: ignore[attr-defined]


class _ByPosition(inspect.Signature):
    """Binds every argument as it comes."""

    args: tuple
    kwargs: dict

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        return SimpleNamespace(args=args, kwargs=kwargs, apply_defaults=tuple)  # which does nothing


def graph_node(function: type[Function]) -> Callable[..., Any]:
    """`function.apply`, as one node of the graphs of `torch.compile`.

    Dynamo cannot look into a Function that has a `jvp`.  It takes a node by its name and module,
    which a method of C's such as `apply` has not: so the node is an object that is called by it.
    """
    node = type(function.__name__, (), {"__call__": staticmethod(function.apply)})()
    node.__name__ = node.__qualname__ = function.__name__
    node.__module__ = function.__module__
    return torch.compiler.allow_in_graph(node)
