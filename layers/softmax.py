"""Softmax and its logarithm, their derivatives written by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .function import FromOutput
from .overrides import overridable


class Softmax_(FromOutput):
    """y = exp(x) / sum exp(x);  dx = y (dy - sum of dy y)."""

    @staticmethod
    def forward(x: Tensor, dim: int) -> Tensor:
        e = (x - x.amax(dim, keepdim=True)).exp_()  # the maximum taken off, nothing overflows
        return e.div_(e.sum(dim, keepdim=True))

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple:
        (y,), (dim,) = ctx.saved_tensors, ctx.constants
        return y * (dy - (dy * y).sum(dim, keepdim=True)), None

    @staticmethod
    def jvp(ctx: Any, x_t: Tensor, _: None) -> Tensor:
        # The slope is a symmetric matrix: forward is as backward.
        (y,), (dim,) = ctx.saved_tensors, ctx.constants
        return y * (x_t - (x_t * y).sum(dim, keepdim=True))


class LogSoftmax_(FromOutput):
    """y = x - log sum exp(x);  dx = dy - exp(y) * sum of dy."""

    @staticmethod
    def forward(x: Tensor, dim: int) -> Tensor:
        shifted = x - x.amax(dim, keepdim=True)
        return shifted - shifted.exp().sum(dim, keepdim=True).log_()

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple:
        (y,), (dim,) = ctx.saved_tensors, ctx.constants
        return dy - y.exp() * dy.sum(dim, keepdim=True), None

    @staticmethod
    def jvp(ctx: Any, x_t: Tensor, _: None) -> Tensor:
        (y,), (dim,) = ctx.saved_tensors, ctx.constants
        return x_t - (y.exp() * x_t).sum(dim, keepdim=True)


@torch.compiler.allow_in_graph
def _softmax(x: Tensor, dim: int) -> Tensor:
    return Softmax_.apply(x, dim)


@torch.compiler.allow_in_graph
def _log_softmax(x: Tensor, dim: int) -> Tensor:
    return LogSoftmax_.apply(x, dim)


@overridable
def softmax(input: Tensor, dim: int) -> Tensor:
    """exp(x) / sum of exp(x) along `dim`: positive, summing to 1.  Any shape.

    Derivatives: all orders, forward mode, vmap.
    """
    return _softmax(input, dim)


@overridable
def log_softmax(input: Tensor, dim: int) -> Tensor:
    """x - log sum of exp(x) along `dim`.  Any shape.

    Derivatives: all orders, forward mode, vmap.
    """
    return _log_softmax(input, dim)


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
