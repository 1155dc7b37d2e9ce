"""Batch normalisation over the images of several processes: sums and counts are all-reduced.

Per channel, over the M values of all processes' shares, mean m and variance v (divided by M):

    h = (x - m) / sqrt(v + eps)        y = gamma h + beta
    dx = gamma / sqrt(v + eps) * (dy - sum of dy / M - h * sum of (dy h) / M)

The sums go over all shares, too.  Those of gamma's and beta's gradients go over this process's
share alone: whoever adds up the gradients of all processes, as DistributedDataParallel, adds them.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ..arguments.batch_norm import check
from ..autograd import may_be_differentiated
from ..batch_norm import BatchNorm2d
from ..interop.autocast import autocast_float32
from ..interop.function import Function
from ..ops.dtypes import upcast
from ..ops.norm import all_but_channels, normalized, per_channel

M = TypeVar("M", bound=torch.nn.Module)


class AllReduce(Function):
    """The sum of all processes' tensors, in each of them; its derivative is the same sum."""

    @staticmethod
    def forward(x: Tensor, group: Any) -> Tensor:
        total = x.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        _, ctx.group = inputs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:
        return AllReduce.apply(grad.contiguous(), ctx.group), None


def _statistics(x: Tensor, group: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Every channel's mean and variance over all shares, (C), and the values of a channel, ()."""
    x, dims = upcast(x), all_but_channels(x)
    values = x.new_tensor([x.numel() // max(1, x.shape[1])])
    *_, count = total = AllReduce.apply(torch.cat((x.sum(dims), values)), group)
    count = count.clamp(min=1)  # of no images nothing is made
    mean = total[:-1] / count
    squares = (x - per_channel(mean, x)).square().sum(dims)
    return mean, AllReduce.apply(squares, group) / count, count


class SyncBatchNormalise(Function):
    """(y, mean, variance, count): the last three of all shares, for the running averages."""

    @staticmethod
    def forward(x: Tensor, gamma: Tensor, beta: Tensor, eps: float, group: Any) -> tuple:
        mean, variance, count = _statistics(x, group)
        h = normalized(upcast(x), mean, variance, eps)
        return (h * per_channel(gamma, x) + per_channel(beta, x)).to(x.dtype), mean, variance, count

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        x, gamma, _, ctx.eps, ctx.group = inputs
        _, *statistics = output
        ctx.mark_non_differentiable(*statistics)
        ctx.save_for_backward(x, gamma, *statistics)

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple:
        x, gamma, mean, variance, count = ctx.saved_tensors
        if may_be_differentiated():
            mean, variance, count = _statistics(x, ctx.group)  # as functions of x
        dy, h = upcast(dy), normalized(upcast(x), mean, variance, ctx.eps)
        dgamma, dbeta = (dy * h).sum(all_but_channels(x)), dy.sum(all_but_channels(x))
        means = AllReduce.apply(torch.cat((dgamma, dbeta)), ctx.group) / count
        mean_dyh, mean_dy = (per_channel(mean, x) for mean in means.chunk(2))
        slope = per_channel(gamma * (variance + ctx.eps).rsqrt(), x)
        return ((dy - mean_dy - h * mean_dyh) * slope).to(x.dtype), dgamma, dbeta, None, None


class SyncBatchNorm(BatchNorm2d):
    """`BatchNorm2d` whose statistics in training are those of all processes' images together.

    Shares may be unequal, and a share may have no image.  Without a process group, in a group of
    one, and outside training it is `BatchNorm2d`.  Arguments, parameters and buffers are
    torch.nn.SyncBatchNorm's.

    Args:
        process_group: the processes that share a batch; by default all.
    Derivatives: backward ones of all orders.
    Differs: torch.nn.SyncBatchNorm, of which it is no subclass, takes any number of dimensions,
        but no CPU; DistributedDataParallel refuses even subclasses of it there.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)
        self.process_group = process_group

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or _is_alone(self.process_group):
            return super().forward(input)
        return self._over_all_processes(input)

    @torch.compiler.disable
    def _over_all_processes(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        running = (self.running_mean, self.running_var) if self.track_running_stats else ()
        check(input, *(running or (None, None)), self.weight, self.bias, True, self.eps)
        x = autocast_float32("batch_norm", input)
        dtype = upcast(x[:0]).dtype
        gamma = x.new_ones(x.shape[1], dtype=dtype) if self.weight is None else self.weight
        beta = x.new_zeros(x.shape[1], dtype=dtype) if self.bias is None else self.bias
        y, mean, variance, count = SyncBatchNormalise.apply(
            x, gamma.to(dtype), beta.to(dtype), self.eps, self.process_group
        )
        if running:
            self._update(mean, variance * (count / (count - 1).clamp(min=1)))
        return y

    @torch.no_grad()
    def _update(self, mean: Tensor, variance: Tensor) -> None:
        """The running averages, and the number of batches."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:
            momentum = 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), momentum)

    @classmethod
    def convert_sync_batchnorm(cls, module: M, process_group: Any = None) -> M:
        """The same module, in which every `BatchNorm2d`, ours or torch.nn's, is a `SyncBatchNorm`.

        Parameters, buffers, keys, hooks and all else are kept.  What is derived from a
        `BatchNorm2d` stays as it is.
        """
        for part in module.modules():
            if type(part) in (BatchNorm2d, torch.nn.BatchNorm2d):
                part.__class__ = cls
                part.process_group = process_group
        return module


def _is_alone(group: Any) -> bool:
    joined = dist.is_available() and dist.is_initialized()
    return not joined or dist.get_world_size(group) == 1
