"""Softmax cross-entropy, with its derivative written by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .autocast import autocasting
from .function import Function
from .operator import operator
from .overrides import overridable


class CrossEntropy(Function):
    """l[n] = sum over c of  q[n,c] (log sum over k of exp z[n,k]  -  z[n,c]).

    With p = softmax(z) and Q[n] = sum over c of q[n,c]:
        dz[n,c] = dl[n] (Q[n] p[n,c] - q[n,c])
        dq[n,c] = dl[n] (log sum over k of exp z[n,k]  -  z[n,c])
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, q: Tensor) -> Tensor:
        # An impossible class (logit -inf) costs nothing where the truth gives it no weight.
        return torch.where(q == 0, 0, q * _surprise(logits)).sum(1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, dl: Tensor) -> tuple:
        logits, q = ctx.saved_tensors
        dl = dl.unsqueeze(1)
        needs_logits, needs_q = ctx.needs_input_grad
        dz = dl * _slope(logits, q) if needs_logits else None
        dq = dl * _surprise(logits) if needs_q else None
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
    shifted = logits - logits.amax(1, keepdim=True)
    return shifted.exp().sum(1, keepdim=True).log() - shifted


def _slope(logits: Tensor, q: Tensor) -> Tensor:
    return q.sum(1, keepdim=True) * torch.softmax(logits, 1) - q


@torch.compiler.allow_in_graph
def _cross_entropy(logits: Tensor, q: Tensor) -> Tensor:
    return CrossEntropy.apply(logits, q)


@operator(
    fake=lambda indices, classes, dtype, ignore_index: indices.new_empty(
        (*indices.shape, classes), dtype=dtype
    )
)
def one_hot(indices: Tensor, classes: int, dtype: torch.dtype, ignore_index: int) -> Tensor:
    """(N) class indices as rows of zeros with a one, (N, C); a row of `ignore_index` has none.

    A target outside the classes raises IndexError on a CPU; on a GPU it is torch's device-side
    assertion, because asking first would stall it.
    """
    counted = indices != ignore_index
    places = torch.where(counted, indices, 0).unsqueeze(-1)
    hot = indices.new_zeros((*indices.shape, classes), dtype=dtype)
    ones = counted.unsqueeze(-1).to(dtype)
    try:
        return hot.scatter_(-1, places, ones)
    except RuntimeError as error:
        if "out of bounds" not in str(error):
            raise
        raise IndexError(f"targets must be class indices from 0 to {classes - 1}") from None


@torch.library.register_vmap("convnets::one_hot")
def _(info: Any, in_dims: tuple, indices: Tensor, *constants: Any) -> tuple:
    return one_hot(indices.movedim(in_dims[0], 0), *constants), 0


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
        weight: (C), the weight w of each class, or None for ones.
        size_average, reduce: torch's retired arguments; must be None.
        ignore_index: targets of this value cost nothing and are not counted.
        reduction: "mean" (over the weights of the targets), "sum" or "none".
        label_smoothing: part of the truth q that is spread evenly over all classes, 0 to 1.
    Returns:
        a scalar, or with "none" the shape of the class indices.
    Raises:
        ValueError: shapes that do not fit, an unknown reduction, smoothing outside [0, 1].
        IndexError: a target outside the classes.
    Derivatives: all orders, forward mode, vmap.
    Source: torch.nn.functional.cross_entropy; smoothing: Szegedy et al. 2015, section 7.
    """
    if size_average is not None or reduce is not None:
        raise ValueError("size_average and reduce are retired: use reduction instead")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing must be between 0 and 1, got {label_smoothing}")
    if input.dim() == 1:
        loss = cross_entropy(
            input[None], target[None], weight, None, ignore_index, None, reduction, label_smoothing
        )
        return loss[0] if reduction == "none" else loss
    logits = _examples(input)
    if autocasting(input):
        logits = logits.float()
    classes = logits.shape[1]
    if target.is_floating_point():
        if target.shape != input.shape:
            raise ValueError(
                f"probabilities {tuple(target.shape)} must be shaped like the logits, "
                f"{tuple(input.shape)}"
            )
        q, counted = _examples(target), None
    else:
        if target.shape != input[:, 0].shape:
            raise ValueError(
                f"logits {tuple(input.shape)} need class indices {tuple(input[:, 0].shape)}, "
                f"got {tuple(target.shape)}"
            )
        q = one_hot(target.flatten().long(), classes, logits.dtype, ignore_index)
        counted = (q if weight is None else q * weight).sum()
    if label_smoothing:
        kept = 1 if counted is None else q.sum(1, keepdim=True)  # an ignored row stays zero
        q = (1 - label_smoothing) * q + label_smoothing / classes * kept
    losses = _cross_entropy(logits, q if weight is None else q * weight)
    if reduction == "none":
        return losses.unflatten(0, input[:, 0].shape)
    total = losses.sum()
    if reduction == "sum":
        return total
    if counted is None:
        return total / len(logits)
    nothing = counted == 0  # the mean of nothing is NaN, but its gradient 0
    return (total / counted.masked_fill(nothing, 1)).masked_fill(nothing, torch.nan)


def _examples(volume: Tensor) -> Tensor:
    """(N, C, d1, ...) as (N * d1 * ..., C): every position of every image is an example."""
    return volume if volume.dim() == 2 else volume.movedim(1, -1).flatten(0, -2)


class CrossEntropyLoss(torch.nn.CrossEntropyLoss):
    """torch.nn.CrossEntropyLoss computed by our `cross_entropy`."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(
            input, target, self.weight, None, self.ignore_index, None, self.reduction,
            self.label_smoothing,
        )  # fmt: skip
