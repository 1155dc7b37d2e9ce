"""Batch normalisation (Ioffe & Szegedy 2015), its derivative written by hand.

Per channel, over the M = N*H*W values of a batch, mean m and variance v (divided by M):

    h = (x - m) / sqrt(v + eps)        y = gamma h + beta

The gradient is in ops/norm.py.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import backends
from .arguments.batch_norm import check
from .autograd import may_be_differentiated
from .interop.autocast import autocast_float32
from .interop.function import Function, graph_node
from .interop.memory_format import as_channels_last, as_contiguous, is_channels_last
from .interop.overrides import overridable
from .ops import norm as ops
from .ops.dtypes import upcast, upcast_dtype
from .ops.norm import all_but_channels, normalized, per_channel


class BatchNorm(Function):
    """(y, mean, variance) from the batch's own statistics, which are for the running averages.

    x, y and their gradients may be in half precision; everything else is then float32.
    """

    generate_vmap_rule = True
    forward = staticmethod(ops.batch_norm)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        x, gamma, _, *ctx.constants = inputs
        _, mean, variance = output
        ctx.mark_non_differentiable(mean, variance)
        ctx.save_for_backward(x, gamma, mean, variance)
        ctx.save_for_forward(x, gamma)

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple:
        x, gamma, mean, variance = ctx.saved_tensors
        eps, channels_last, _ = ctx.constants
        if may_be_differentiated():
            mean, variance = _statistics(x)  # as functions of x
            dx, *others = ops.batch_norm_backward.definition(dy, x, gamma, mean, variance, eps)
            return _in_memory_format(dx, channels_last), *others, None, None, None
        gradients = ops.batch_norm_backward(dy, x, gamma, mean, variance, *ctx.constants)
        return *gradients, None, None, None

    @staticmethod
    def jvp(
        ctx: Any, x_t: Tensor | None, gamma_t: Tensor | None, beta_t: Tensor | None, *_: None
    ) -> tuple:
        """dh = (dx - mean of dx - h * mean of h dx) / sqrt(variance + eps);  the rest is linear."""
        (x, gamma), (eps, *_) = ctx.saved_tensors, ctx.constants
        mean, variance = _statistics(x)
        h = normalized(upcast(x), mean, variance, eps)
        y_t = torch.zeros_like(h)
        if x_t is not None:
            x_t = upcast(x_t)
            mean_t, shared = (t.mean(all_but_channels(x)) for t in (x_t, h * x_t))
            h_t = x_t - per_channel(mean_t, x) - h * per_channel(shared, x)
            y_t = y_t + h_t * per_channel(gamma * (variance + eps).rsqrt(), x)
        if gamma_t is not None:
            y_t = y_t + h * per_channel(gamma_t, x)
        if beta_t is not None:
            y_t = y_t + per_channel(beta_t, x)
        return y_t.to(x.dtype), None, None


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Every channel's mean and variance, recorded for derivatives."""
    variance, mean = torch.var_mean(upcast(x), all_but_channels(x), correction=0)
    return mean, variance


_batch_norm = graph_node(BatchNorm)


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
    check(input, running_mean, running_var, weight, bias, training, eps)
    input = autocast_float32("batch_norm", input)
    if input.shape == (0,):
        return input.clone()
    channels, dtype = input.shape[1], upcast_dtype(input)  # of all that belongs to a channel
    gamma = input.new_ones(channels, dtype=dtype) if weight is None else weight.to(dtype)
    beta = input.new_zeros(channels, dtype=dtype) if bias is None else bias.to(dtype)
    if not training:
        assert running_mean is not None
        assert running_var is not None
        slope = gamma * (running_var.to(dtype) + eps).rsqrt()
        return _affine(input, slope, beta - running_mean.to(dtype) * slope)
    count = input.numel() // max(1, channels)
    if count == 0:  # nothing to learn from
        return _affine(input, gamma, beta)
    if count == 1:
        raise ValueError(
            f"a variance needs more than 1 value per channel, got {tuple(input.shape)}"
        )
    options = is_channels_last(input), backends.kernels.enabled
    y, mean, variance = _batch_norm(input, gamma, beta, eps, *options)
    if running_mean is not None and running_var is not None:  # both, or neither
        unbiased = variance * (count / (count - 1))
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    return y


def _affine(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    """slope x + shift of every channel, in operations that torch differentiates."""
    channels_last = is_channels_last(x)
    x = _in_memory_format(x, channels_last)  # and its gradient
    y = torch.addcmul(per_channel(shift, x), x, per_channel(slope, x)).to(x.dtype)
    return y if y.stride() == x.stride() else _in_memory_format(y, channels_last)


def _in_memory_format(x: Tensor, channels_last: bool) -> Tensor:
    """x with the strides of a format; of no numbers torch leaves them as they are."""
    if x.numel() == 0:
        return x
    return as_channels_last(x) if channels_last else as_contiguous(x)


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
