"""Batch normalisation (Ioffe & Szegedy 2015), its derivative written by hand.

Per channel, over the M = N*H*W values of a batch, mean m and variance v (divided by M):

    h  = (x - m) / sqrt(v + eps)          y = gamma h + beta
    dgamma = sum dy h        dbeta = sum dy
    dx = gamma / sqrt(v + eps) * (dy - dbeta / M - h dgamma / M)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .autocast import autocast_float32
from .autograd import Function, may_be_differentiated
from .kernels.batch_norm import along, gradient, normalise, normalise_input, rest
from .ops.legacy import require_float, upcast, upcast_dtype
from .overrides import overridable


class BatchNorm(Function):
    """(y, m, v) from the batch's own statistics; m and v are for the running averages.

    x, y and their gradients may be in half precision, and are kept so; the rest is then float32.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, ...]:
        return normalise(x, gamma, beta, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        x, gamma, _, ctx.eps = inputs
        _, m, v = output
        ctx.mark_non_differentiable(m, v)
        ctx.save_for_backward(x, gamma, m, v)
        ctx.save_for_forward(x, gamma, m, v)

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple:
        x, gamma, m, v = ctx.saved_tensors
        if may_be_differentiated():  # then m and v must be functions of x
            dy, wide_x = upcast(dy), upcast(x)
            v, m = torch.var_mean(wide_x, rest(x), correction=0)
            dx, dgamma, dbeta = gradient(dy, wide_x, gamma, m, v, ctx.eps)
            return dx.to(x.dtype), dgamma, dbeta, None
        return *normalise_input(dy, x, gamma, m, v, ctx.eps), None

    @staticmethod
    def jvp(
        ctx: Any, x_t: Tensor | None, gamma_t: Tensor | None, beta_t: Tensor | None, _: None
    ) -> tuple:
        x, gamma, *_ = ctx.saved_tensors
        dtype, x = x.dtype, upcast(x)
        v, m = torch.var_mean(x, rest(x), correction=0)  # again, as functions of x
        root = (v + ctx.eps).rsqrt()
        h = (x - along(m, x)) * along(root, x)
        y_t = torch.zeros_like(x)
        if x_t is not None:
            x_t = upcast(x_t)
            mean_t, shared = x_t.mean(rest(x)), (h * x_t).mean(rest(x))
            h_t = (x_t - along(mean_t, x) - h * along(shared, x)) * along(root, x)
            y_t = y_t + h_t * along(gamma, x)
        if gamma_t is not None:
            y_t = y_t + h * along(gamma_t, x)
        if beta_t is not None:
            y_t = y_t + along(beta_t, x)
        return y_t.to(dtype), None, None


@torch.compiler.allow_in_graph
def _batch_norm(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, ...]:
    return BatchNorm.apply(x, gamma, beta, eps)


@overridable
def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Every channel shifted and scaled to mean 0 and variance 1, then to `bias` and `weight`.

    Args:
        input: (N, C, ...), any float dtype; or nothing at all, (0,).
        running_mean, running_var: (C) averages over batches; in training they are updated in
            place, running += momentum * (batch's - running), the variance divided by M - 1.
        weight, bias: (C) gamma and beta, or None for 1 and 0.
        training: normalise by the batch's statistics; else by the running ones.
        momentum: weight of the newest batch.
        eps: added to the variance; positive in training, else at least 0.
    Returns:
        (N, C, ...).
    Raises:
        ValueError: training on a single value per channel, or with one of the running statistics
            alone; an eps out of range.
        RuntimeError: not training and no running statistics, or sizes other than C.
        NotImplementedError: whole or complex numbers.
    Derivatives: all orders, forward mode, vmap.
    Source: Ioffe & Szegedy 2015, algorithms 1 and 2; torch's conventions for the running ones.
    """
    require_float("batch_norm", input, running_mean, running_var, weight, bias)
    input = autocast_float32("batch_norm", input)
    if eps < 0 or (training and eps == 0):
        least = "positive in training" if training else "at least 0"
        raise ValueError(f"eps must be {least}, got {eps}")
    if input.shape == (0,):
        return input.clone()
    if input.dim() < 2:
        raise RuntimeError(f"batch_norm needs (N, C, ...) activations, got {tuple(input.shape)}")
    channels = input.shape[1]
    for name, values in (
        ("running_mean", running_mean), ("running_var", running_var), ("weight", weight),
        ("bias", bias),
    ):  # fmt: skip
        if values is not None and values.shape != (channels,):
            raise RuntimeError(f"{name} must have {channels} numbers, got {tuple(values.shape)}")
    if training and (running_mean is None) != (running_var is None):
        raise ValueError("give both running_mean and running_var, or neither: one is missing")
    dtype = upcast_dtype(input)  # of everything that belongs to a channel
    gamma = input.new_ones(channels, dtype=dtype) if weight is None else weight.to(dtype)
    beta = input.new_zeros(channels, dtype=dtype) if bias is None else bias.to(dtype)
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError("without training, running_mean and running_var are needed")
        slope = gamma * (running_var.to(dtype) + eps).rsqrt()
        shift = beta - running_mean.to(dtype) * slope
        return torch.addcmul(along(shift, input), input, along(slope, input)).to(input.dtype)
    count = input.numel() // max(1, channels)
    if count == 0:  # nothing to learn from
        return (input * along(gamma, input) + along(beta, input)).to(input.dtype)
    if count == 1:
        raise ValueError(
            f"a variance needs more than 1 value per channel, got {tuple(input.shape)}"
        )
    y, m, v = _batch_norm(input, gamma, beta, eps)
    if running_mean is not None and running_var is not None:  # both, or neither
        unbiased = v * (count / (count - 1))
        running_mean.lerp_(m.to(running_mean.dtype), momentum)
        running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    return y


@overridable
def batch_norm2d(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    num_batches_tracked: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    track_running_stats: bool,
    momentum: float | None,
    eps: float,
) -> Tensor:
    """What `BatchNorm2d` does with a batch of images (N, C, H, W), its counter included.

    A function, so that a tracer sees one node: what a module looks at, it would take for constant.

    Args:
        num_batches_tracked: the batches seen in training, () int64; counted up in place.
        track_running_stats: whether training updates the running averages, and counts.
        momentum: None for a plain average over all batches.
        The others as in `batch_norm`.
    Raises:
        ValueError: other than four dimensions; and as `batch_norm`.
    """
    if input.dim() != 4:
        raise ValueError(f"expected 4D input (got {input.dim()}D input)")
    factor = 0.0 if momentum is None else momentum
    if training and track_running_stats and num_batches_tracked is not None:
        num_batches_tracked.add_(1)
        if momentum is None:
            factor = 1.0 / float(num_batches_tracked)
    if training and not track_running_stats:
        running_mean = running_var = None
    batch = training or (running_mean is None and running_var is None)
    return batch_norm(input, running_mean, running_var, weight, bias, batch, factor, eps)


class BatchNorm2d(torch.nn.BatchNorm2d):
    """torch.nn.BatchNorm2d computed by our `batch_norm`: same arguments, parameters, buffers."""

    def forward(self, input: Tensor) -> Tensor:
        return batch_norm2d(
            input, self.running_mean, self.running_var, self.num_batches_tracked, self.weight,
            self.bias, self.training, self.track_running_stats, self.momentum, self.eps,
        )  # fmt: skip
