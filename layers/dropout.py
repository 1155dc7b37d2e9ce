"""Dropout: in training, every activation is switched off with probability p."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .arguments.dropout import check
from .arguments.dtypes import require_float
from .interop.function import Function, graph_node
from .interop.overrides import overridable


class Masked(Function):
    """y = x mask, the mask a constant;  dx = dy mask.  Only the mask is kept."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, mask: Tensor) -> Tensor:
        return x * mask

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.save_for_forward(inputs[1])

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple:
        return Masked.apply(dy, *ctx.saved_tensors), None

    @staticmethod
    def jvp(ctx: Any, x_t: Tensor, _: None) -> Tensor:
        return Masked.apply(x_t, *ctx.saved_tensors)


_masked = graph_node(Masked)


@overridable
def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """y = x m / (1 - p), each m 1 with probability 1 - p and else 0; outside training y = x.

    Draws the same mask as torch.nn.functional.dropout from the same seed.

    Args:
        input: any shape, any float dtype.
        p: probability of being switched off, 0 to 1.
        training: whether to drop at all.
    Raises:
        ValueError: p outside [0, 1], or inplace.
        NotImplementedError: whole or complex numbers, of which some are to be dropped.
    Derivatives: all orders, forward mode, vmap (with vmap's `randomness`).
    Source: Krizhevsky et al. 2012, section 4.2.  Differs: scaled in training (by 1/(1 - p)), not
        in testing (by 1 - p), as every framework does today; the network is the same.
    """
    check(p, inplace)
    if not training or p == 0 or input.numel() == 0:
        return input
    if p == 1:
        return _masked(input, input.new_zeros(()))
    require_float("dropout", input)
    return _masked(input, torch.empty_like(input).bernoulli_(1 - p).div_(1 - p))


class Dropout(torch.nn.Dropout):
    """torch.nn.Dropout computed by our `dropout`."""

    def forward(self, input: Tensor) -> Tensor:
        return dropout(input, self.p, self.training, self.inplace)
