"""The fully connected layer: the convolution's trilinear form without space.

    T(x, w, g) = sum over n, co, ci of  g[n,co] * w[co,ci] * x[n,ci]

Without space the three operators are one product of matrices, transposed:

    linear(x, w) = x w^T      linear_input(w, g) = g w      linear_weight(x, g) = g^T x
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from .arguments import linear as arguments
from .autograd import Bilinear, add_bias
from .interop.autocast import autocast
from .interop.function import graph_node
from .interop.overrides import overridable


class Linear_(Bilinear):
    """y = x w^T:  dx = dy w* = linear(dy, w^H),  dw = dy^T x* = linear(dy^T, x^H).

    * is the conjugate and ^H the conjugate transpose: of real numbers, w itself and w^T.  As in
    torch, the gradient by a transposed x or w is computed transposed, and lies in memory as that.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return torch.mm(x, weight.T)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight = ctx.needs_input_grad
        dx = dw = None
        if needs_x:
            transposed = x.stride() == (1, x.shape[0])
            dx = Linear_.apply(weight.mH, dy).T if transposed else Linear_.apply(dy, weight.mH)
        if needs_weight:
            plain = weight.stride() == (weight.shape[1], 1)
            dw = Linear_.apply(dy.T, x.mH) if plain else Linear_.apply(x.mH, dy.T).T
        return dx, dw


product = graph_node(Linear_)  # x w^T of two matrices


@overridable
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Every output sees every input:  y[..., co] = b[co] + sum over ci of w[co,ci] * x[..., ci].

    Args:
        input: (..., C_in), any float or complex dtype.
        weight: (C_out, C_in), or (C_in) for a single output without a dimension, and no bias.
        bias: (C_out), or whatever broadcasts to the output, or None.
    Returns:
        (..., C_out).
    Raises:
        RuntimeError: shapes that do not fit together.
    Derivatives: all orders, forward mode, vmap.
    Source: the chapter, "Fully-connected layer".
    """
    if weight.dim() == 1:
        if bias is not None:
            raise RuntimeError("weights (C_in) of a single output take no bias: use (1, C_in)")
        return linear(input, weight[None])[..., 0]
    input, weight, bias = autocast(input, weight, bias)  # type: ignore[assignment]
    arguments.check(input, weight)
    shape = *input.shape[:-1], weight.shape[0]
    rows = input if input.dim() == 2 else input.reshape(prod(shape[:-1]), input.shape[-1])
    y = product(rows, weight)
    y = y if bias is None else add_bias(y, arguments.bias_by_row(bias, shape))
    return y if rows is input else y.reshape(shape)


@overridable
def linear_input(weight: Tensor, grad_output: Tensor) -> Tensor:
    """The gradient of `linear` by its input, g w (w conjugated): (N, C_in).  All orders."""
    return linear(grad_output, weight.mH)


@overridable
def linear_weight(input: Tensor, grad_output: Tensor) -> Tensor:
    """The gradient of `linear` by its weights, g^T x (x conjugated): (C_out, C_in).  All orders."""
    return linear(grad_output.T, input.mH)


class Linear(torch.nn.Linear):
    """torch.nn.Linear computed by our `linear`: same arguments, parameters and keys."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)
