"""Softmax and its logarithm, their derivatives written by hand.

Half precision is rounded once, at the end, as torch's kernels do it.  Outputs and gradients are
contiguous, as torch's are, whatever the input's strides.  Nothing is written in place:
`torch.func.linearize` keeps what does not depend on the tangent, and would overwrite it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .arguments.dtypes import require_float
from .autograd import FromOutput
from .interop.autocast import autocast_float32
from .interop.function import graph_node
from .interop.memory_format import as_contiguous
from .interop.overrides import overridable
from .ops.dtypes import upcast


class Softmax_(FromOutput):
    """y = exp(x) / sum exp(x);  dx = y (dy - sum of dy y)."""

    @staticmethod
    def forward(x: Tensor, dim: int) -> Tensor:
        if _is_empty(x, dim):
            return torch.empty_like(x, memory_format=torch.contiguous_format)
        v = upcast(as_contiguous(x))
        e = (v - v.amax(dim, keepdim=True)).exp()  # the maximum taken off, nothing overflows
        return (e / e.sum(dim, keepdim=True)).to(x.dtype)

    @staticmethod
    def slope(t: Tensor, y: Tensor, dim: int) -> Tensor:
        v, p = upcast(as_contiguous(t)), upcast(y)
        return (p * (v - (v * p).sum(dim, keepdim=True))).to(y.dtype)


class LogSoftmax_(FromOutput):
    """y = x - log sum exp(x);  dx = dy - exp(y) * sum of dy."""

    @staticmethod
    def forward(x: Tensor, dim: int) -> Tensor:
        if _is_empty(x, dim):
            return torch.empty_like(x, memory_format=torch.contiguous_format)
        v = upcast(as_contiguous(x))
        shifted = v - v.amax(dim, keepdim=True)
        return (shifted - shifted.exp().sum(dim, keepdim=True).log()).to(x.dtype)

    @staticmethod
    def slope(t: Tensor, y: Tensor, dim: int) -> Tensor:
        v = upcast(as_contiguous(t))
        return (v - (upcast(y).exp() * v).sum(dim, keepdim=True)).to(y.dtype)

    @classmethod
    def backward(cls, ctx: Any, dy: Tensor) -> tuple:  # no symmetric matrix: its transpose
        (y,), (dim,), v = ctx.saved_tensors, ctx.constants, upcast(as_contiguous(dy))
        return (v - upcast(y).exp() * v.sum(dim, keepdim=True)).to(y.dtype), None


def _is_empty(x: Tensor, dim: int) -> bool:
    """Whether the dimension has no numbers, and so no maximum; a scalar has one."""
    return x.dim() > 0 and x.size(dim) == 0


_softmax, _log_softmax = map(graph_node, (Softmax_, LogSoftmax_))


@overridable
def softmax(input: Tensor, dim: int) -> Tensor:
    """exp(x) / sum of exp(x) along `dim`: positive, summing to 1.  Any shape, any float dtype.

    Raises:
        IndexError: no such dimension.
        NotImplementedError: whole or complex numbers.
    Derivatives: all orders, forward mode, vmap.
    """
    require_float("softmax", input)
    return _softmax(autocast_float32("softmax", input), dim)


@overridable
def log_softmax(input: Tensor, dim: int) -> Tensor:
    """x - log sum of exp(x) along `dim`.  Any shape, any float dtype.

    Raises:
        IndexError: no such dimension.
        NotImplementedError: whole or complex numbers.
    Derivatives: all orders, forward mode, vmap.
    """
    require_float("log_softmax", input)
    return _log_softmax(autocast_float32("log_softmax", input), dim)


class Softmax(torch.nn.Softmax):
    """torch.nn.Softmax computed by our `softmax`; `dim` must be given."""

    def forward(self, input: Tensor) -> Tensor:
        return softmax(input, _given(self.dim))


class LogSoftmax(torch.nn.LogSoftmax):
    """torch.nn.LogSoftmax computed by our `log_softmax`; `dim` must be given."""

    def forward(self, input: Tensor) -> Tensor:
        return log_softmax(input, _given(self.dim))


def _given(dim: int | None) -> int:
    if dim is None:
        raise ValueError("softmax needs the dimension that sums to 1, for example dim=1")
    return dim
