"""Batch and local response normalisation, each with its backward.

The backward definitions write nothing in place, and torch can differentiate them again.
"""

from __future__ import annotations

from functools import reduce
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from ..interop.memory_format import elementwise_like, empty_images
from .dtypes import upcast, upcast_dtype
from .registry import operator


def _empty_norm(x: Tensor, channels_last: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Like x, and twice (C)."""
    channels = x.new_empty(x.shape[1], dtype=upcast_dtype(x))
    return empty_images(x, x.shape, channels_last), channels, torch.empty_like(channels)


@operator(empty=lambda x, gamma, beta, eps, channels_last: _empty_norm(x, channels_last))
def batch_norm(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Every channel shifted and scaled to mean 0 and variance 1, then to beta and gamma.

        h = (x - mean) / sqrt(variance + eps)        y = gamma h + beta

    x (N, C, ...), gamma and beta (C) -> y (N, C, ...), mean and variance (C); the variance is
    divided by the number of values M = N*H*W.  Of half precision, both are float32.
    """
    variance, mean = torch.var_mean(upcast(x), all_but_channels(x), correction=0)
    h = normalized(upcast(x), mean, variance, eps)
    return (h * per_channel(gamma, x) + per_channel(beta, x)).to(x.dtype), mean, variance


@operator(
    empty=lambda dy, x, gamma, mean, variance, eps, channels_last: _empty_norm(x, channels_last)
)
def batch_norm_backward(
    dy: Tensor, x: Tensor, gamma: Tensor, mean: Tensor, variance: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient of `batch_norm`; to be differentiated, mean and variance must depend on x.

        dgamma = sum dy h        dbeta = sum dy
        dx = gamma / sqrt(variance + eps) * (dy - dbeta / M - h dgamma / M)

    dy and x (N, C, ...), the others (C) -> dx (N, C, ...), dgamma and dbeta (C).
    """
    dtype, dy, h = x.dtype, upcast(dy), normalized(upcast(x), mean, variance, eps)
    count = x.shape[0] * prod(x.shape[2:])
    dgamma, dbeta = (dy * h).sum(all_but_channels(x)), dy.sum(all_but_channels(x))
    centred = dy - per_channel(dbeta / count, x) - h * per_channel(dgamma / count, x)
    return (centred * per_channel(gamma * (variance + eps).rsqrt(), x)).to(dtype), dgamma, dbeta


def normalized(x: Tensor, mean: Tensor, variance: Tensor, eps: float) -> Tensor:
    """h = (x - mean) / sqrt(variance + eps)."""
    return (x - per_channel(mean, x)) * per_channel((variance + eps).rsqrt(), x)


def all_but_channels(x: Tensor) -> list[int]:
    """The dimensions of (N, C, ...) that a channel's statistics go over."""
    return [0, *range(2, x.dim())]


def per_channel(values: Tensor, x: Tensor) -> Tensor:
    """(C) shaped to meet (N, C, ...)."""
    return values.view(-1, *[1] * (x.dim() - 2))


@operator(empty=lambda x, size, alpha, beta, k: elementwise_like(x))
def local_response_norm(x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    """Every activation damped by its neighbours across channels.

        s[c] = k + alpha * sum over c' near c of  x[c']^2        y[c] = x[c] s[c]^-beta

    The `size` channels c - size//2 .. c + (size-1)//2 are near c, as far as they exist.
    x (N, C, ...) -> y (N, C, ...).
    """
    s = response_scale(upcast(x), size, alpha, k)
    return (upcast(x) * s**-beta).to(x.dtype)


@operator(empty=lambda dy, x, size, alpha, beta, k: elementwise_like(dy))
def local_response_norm_backward(
    dy: Tensor, x: Tensor, size: int, alpha: float, beta: float, k: float
) -> Tensor:
    """The gradient of `local_response_norm`.

        dx[c] = dy[c] s[c]^-beta  -  2 alpha beta x[c] * sum over c' that have c near of
                                                             dy[c'] x[c'] s[c']^(-beta-1)

    dy and x (N, C, ...) -> dx (N, C, ...).
    """
    dtype, dy, x = x.dtype, upcast(dy), upcast(x)
    s = response_scale(x, size, alpha, k)
    direct = dy * s**-beta
    shared = channel_sum(direct * x / s, (size - 1) // 2, size // 2)  # the window, transposed
    return (direct - 2 * alpha * beta * x * shared).to(dtype)


def response_scale(x: Tensor, size: int, alpha: float, k: float) -> Tensor:
    """s[c] = k + alpha * sum over c' near c of  x[c']^2."""
    return k + alpha * channel_sum(x * x, size // 2, (size - 1) // 2)


def channel_sum(v: Tensor, before: int, after: int) -> Tensor:
    """out[:, c] = sum of v[:, c - before .. c + after], as far as they exist."""
    channels = v.shape[1]
    padded = F.pad(v, [0, 0] * (v.dim() - 2) + [before, after])
    return reduce(torch.add, (padded.narrow(1, t, channels) for t in range(before + after + 1)))
