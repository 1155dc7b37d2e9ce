"""Batch normalisation in two passes over a batch: the sums of every channel, and what follows.

Both y and dx are affine functions of what they are computed from, with coefficients for every
channel:

    y = slope x + shift        dx = slope dy + x_coefficient x + shift

Shapes: x and dy (N, C, ...), everything else (C).  Letters as in ops/norm.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..ops.dtypes import upcast
from ..ops.norm import all_but_channels, per_channel
from ..ops.registry import Kernel
from . import batch_norm_loops as loops
from .jit import array, parallel_for, why_not_jit
from .layout import as_maps_or_pixels, copy, upcast_output


def batch_norm(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    eps: float,
    channels_last: bool,
    y: Tensor,
    mean: Tensor,
    variance: Tensor,
) -> None:
    x, result = upcast(x), upcast_output(y)
    as_pixels, (source, target) = as_maps_or_pixels(result, x, result)
    constants = array(gamma.contiguous()), array(beta.contiguous()), eps
    statistics = array(mean), array(variance)
    if as_pixels:
        _normalize_pixels(source, *constants, target, *statistics)
    else:
        arguments = source, *constants, target, *statistics
        parallel_for(loops.batch_norm_maps, len(mean), source.size, *arguments)
    copy(result, y)


def _normalize_pixels(x: Any, gamma: Any, beta: Any, eps: float, y: Any, m: Any, v: Any) -> None:
    k = x[: loops.BLOCK].mean(0)
    constants, outputs = (len(x), gamma, beta, eps), (m, v, np.empty_like(k), np.empty_like(k))
    if loops.affine_coefficients_of_channels(*_sums(x, x, k, k), k, *constants, *outputs):
        k = m.copy()
        loops.affine_coefficients_of_channels(*_sums(x, x, k, k), k, *constants, *outputs)
    _, _, slope, shift = outputs
    parallel_for(loops.apply_affine, len(x), x.size, x, slope, shift, y)


def batch_norm_backward(
    dy: Tensor,
    x: Tensor,
    gamma: Tensor,
    mean: Tensor,
    variance: Tensor,
    eps: float,
    channels_last: bool,
    dx: Tensor,
    dgamma: Tensor,
    dbeta: Tensor,
) -> None:
    dy, x, result = upcast(dy), upcast(x), upcast_output(dx)
    as_pixels, (left, right, target) = as_maps_or_pixels(result, dy, x, result)
    m, v = array(mean), array(variance)
    constants, results = (array(gamma.contiguous()), m, v, eps), (array(dgamma), array(dbeta))
    if as_pixels:
        coefficients = tuple(np.empty((3, len(m)), m.dtype))
        sums = _sums(left, right, np.zeros_like(m), m)
        loops.grad_coefficients_of_channels(*sums, len(left), *constants, *results, *coefficients)
        parallel_for(loops.apply_grad, len(left), 2 * left.size, left, right, *coefficients, target)
    else:
        arguments = left, right, *constants, target, *results
        parallel_for(loops.batch_norm_backward_maps, len(m), 2 * left.size, *arguments)
    copy(result, dx)


def _sums(a: Any, b: Any, k: Any, m: Any) -> Any:
    """Sum (a - k), and sum (a - k) (b - m), of every channel of pixels (M, C)."""
    blocks = -(-len(a) // loops.BLOCK)
    parts = np.empty((2, blocks, len(k)), a.dtype)
    parallel_for(loops.sums_of_pixels, blocks, b.size, a, b, k, m, *parts)
    return [loops.add_up(part) for part in parts]


def batch_norm_by_operations(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    eps: float,
    channels_last: bool,
    y: Tensor,
    mean: Tensor,
    variance: Tensor,
) -> None:
    v, m = torch.var_mean(upcast(x), all_but_channels(x), correction=0)
    slope = gamma * (v + eps).rsqrt()
    shift = beta - m * slope
    torch.addcmul(per_channel(shift, x), x, per_channel(slope, x), out=y)
    mean.copy_(m)
    variance.copy_(v)


def batch_norm_backward_by_operations(
    dy: Tensor,
    x: Tensor,
    gamma: Tensor,
    mean: Tensor,
    variance: Tensor,
    eps: float,
    channels_last: bool,
    dx: Tensor,
    dgamma: Tensor,
    dbeta: Tensor,
) -> None:
    dy, x, result = upcast(dy), upcast(x), upcast_output(dx)
    count, root = x.numel() // len(gamma), (variance + eps).rsqrt()
    torch.sum(dy, all_but_channels(x), out=dbeta)
    torch.sub(x, per_channel(mean, x), out=result)
    torch.sum(result.mul_(dy), all_but_channels(x), out=dgamma).mul_(root)
    slope = gamma * root
    x_coefficient = -slope * root * dgamma / count
    shift = -slope * dbeta / count - x_coefficient * mean
    torch.addcmul(per_channel(shift, x), dy, per_channel(slope, x), out=result)
    copy(result.addcmul_(x, per_channel(x_coefficient, x)), dx)


def _supports_loops(x: Tensor, *others: Any) -> str | None:
    return why_not_jit(upcast(x[:0]))


def _supports(*inputs: Any) -> None:
    return None


BATCH_NORM = Kernel("loops", batch_norm, _supports_loops)
BATCH_NORM_BY_OPERATIONS = Kernel("operations", batch_norm_by_operations, _supports)
BATCH_NORM_BACKWARD = Kernel("loops", batch_norm_backward, _supports_loops)
BATCH_NORM_BACKWARD_BY_OPERATIONS = Kernel(
    "operations", batch_norm_backward_by_operations, _supports
)
