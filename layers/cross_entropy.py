"""Softmax cross-entropy, with its derivative written by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import backends
from .arguments.cross_entropy import check, check_dtypes, check_options
from .interop.autocast import autocast_float32
from .interop.function import Function, graph_node
from .interop.memory_format import as_contiguous
from .interop.overrides import overridable
from .ops.pointwise import one_hot


class CrossEntropy(Function):
    """l[n] = sum over c of  q[n,c] (log sum over k of exp z[n,k]  -  z[n,c]), contiguous.

    With p = softmax(z) and Q[n] = sum over c of q[n,c]:
        dz[n,c] = dl[n] (Q[n] p[n,c] - q[n,c])
        dq[n,c] = dl[n] (log sum over k of exp z[n,k]  -  z[n,c])
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, q: Tensor) -> Tensor:
        # An impossible class (logit -inf) costs nothing where the truth gives it no weight.
        return as_contiguous(torch.where(q == 0, 0, q * _surprise(logits)).sum(1))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, dl: Tensor) -> tuple:
        logits, q = ctx.saved_tensors
        dl = dl.unsqueeze(1)
        needs_logits, needs_q = ctx.needs_input_grad
        dz = as_contiguous(dl * _slope(logits, q)) if needs_logits else None
        dq = as_contiguous(dl * _surprise(logits)) if needs_q else None
        return dz, dq

    @staticmethod
    def jvp(ctx: Any, z_t: Tensor | None, q_t: Tensor | None) -> Tensor:
        logits, q = ctx.saved_tensors
        change = torch.zeros_like(logits[:, 0])
        if z_t is not None:
            change = change + (z_t * _slope(logits, q)).sum(1)
        if q_t is not None:
            change = change + CrossEntropy.apply(logits, q_t)
        return change


def _surprise(logits: Tensor) -> Tensor:
    """-log softmax(z), the maximum taken off first so that nothing overflows."""
    if logits.shape[1] == 0:  # no classes have no maximum
        return logits.clone()
    shifted = logits - logits.amax(1, keepdim=True)
    return shifted.exp().sum(1, keepdim=True).log() - shifted


def _slope(logits: Tensor, q: Tensor) -> Tensor:
    return q.sum(1, keepdim=True) * torch.softmax(logits, 1) - q


_cross_entropy = graph_node(CrossEntropy)


@overridable
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: None = None,
    ignore_index: int = -100,
    reduce: None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The surprise, in nats, at the true class under softmax(logits).

        loss[n] = - sum over c of  w[c] q[n,c] log softmax(z[n])[c]

    Args:
        input: logits z, (N, C), (C) or (N, C, d1, ...), any float dtype.
        target: class indices of shape (N), () or (N, d1, ...), or probabilities like `input`.
        weight: (C), the weight w of each class, or None for ones; with class indices of the
            logits' dtype.
        size_average, reduce: torch's retired arguments; must be None.
        ignore_index: class indices of this value cost nothing and are not counted.
        reduction: "mean" (over the weights of the targets), "sum" or "none".
        label_smoothing: part of the truth q that is spread evenly over all classes, 0 to 1.
    Returns:
        a scalar, or with "none" the shape of the class indices.
    Raises:
        ValueError: batches that do not fit, an unknown reduction, smoothing outside [0, 1].
        RuntimeError: other shapes or dtypes that do not fit, probabilities and an ignore_index.
        IndexError: a target outside the classes, or a scalar's probability.
        NotImplementedError: whole or complex logits.
    Derivatives: all orders, forward mode, vmap.
    Source: torch.nn.functional.cross_entropy; smoothing: Szegedy et al. 2015, section 7.
    """
    check_options(size_average, reduce, reduction, label_smoothing)
    check(input, target, weight, ignore_index)
    are_probabilities = target.shape == input.shape
    if input.dim() == 1:
        target = target[None] if are_probabilities else target.view(1)
        loss = cross_entropy(
            input[None], target, weight, None, ignore_index, None, reduction, label_smoothing
        )
        return loss[0] if reduction == "none" else loss
    logits = autocast_float32("cross_entropy", input)
    if weight is not None:
        weight = autocast_float32("cross_entropy", weight.view(-1, *(1 for _ in input.shape[2:])))
    classes = logits.shape[1]
    if are_probabilities:
        q, counted = target, None
    else:
        check_dtypes(logits, weight)
        options = classes, logits.dtype, ignore_index, backends.kernels.enabled
        q = one_hot(target.long(), *options).movedim(-1, 1)
        counted = (q if weight is None else q * weight).sum()
    if label_smoothing:
        kept = 1 if counted is None else q.sum(1, keepdim=True)  # an ignored row stays zero
        q = (1 - label_smoothing) * q + label_smoothing / max(1, classes) * kept
    losses = _cross_entropy(logits, q if weight is None else q * weight)
    if reduction == "none":
        return losses
    total = losses.sum()
    if reduction == "sum":
        return total
    if counted is None:
        return total / losses.numel()
    nothing = counted == 0  # the mean of nothing is NaN, but its gradient 0
    return (total / counted.masked_fill(nothing, 1)).masked_fill(nothing, torch.nan)


class CrossEntropyLoss(torch.nn.CrossEntropyLoss):
    """torch.nn.CrossEntropyLoss computed by our `cross_entropy`."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(
            input, target, self.weight, None, self.ignore_index, None, self.reduction,
            self.label_smoothing,
        )  # fmt: skip
