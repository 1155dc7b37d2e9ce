"""Batch normalisation's passes over a batch, and its derivative's.

They are limited by memory, and torch's operations would go through it several times.  On a CPU they
are loops (batch_norm_loops.py).

Shapes: x and dy (N, C, ...), everything else (C).  Letters as in batch_norm.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..ops.legacy import operator, upcast, upcast_dtype
from . import batch_norm_loops as loops
from .jit import array, as_maps_or_pixels, is_dense, parallel_for


def _like(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A volume like x, and two numbers for each channel."""
    dtype = upcast_dtype(x)
    return torch.empty_like(x), *(x.new_empty(x.shape[1], dtype=dtype) for _ in range(2))  # type: ignore[return-value]


@operator(fake=lambda x, gamma, beta, eps: _like(x))
def normalise(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """y, and the mean m and variance v (divided by the number of values) of each channel."""
    y, m, v = _like(x)
    if not is_dense(y):
        v, m = torch.var_mean(upcast(x), rest(x), correction=0)
        slope = gamma * (v + eps).rsqrt()
        return torch.addcmul(along(beta - m * slope, x), x, along(slope, x), out=y), m, v
    last, (source, target) = as_maps_or_pixels(y, x, y)
    numbers = array(gamma.contiguous()), array(beta.contiguous()), eps
    results = array(m), array(v)
    if not last:
        given = source, *numbers, target, *results
        parallel_for(loops.batch_norm_maps, len(m), source.size, *given)
        return y, m, v
    k = source[: loops.BLOCK].mean(0)
    slope, shift = np.empty_like(k), np.empty_like(k)
    outputs = *results, slope, shift
    if loops.affine_coefficients_of_channels(
        *_sums(source, source, k, k), k, len(source), *numbers, *outputs
    ):
        k = results[0].copy()
        loops.affine_coefficients_of_channels(
            *_sums(source, source, k, k), k, len(source), *numbers, *outputs
        )
    parallel_for(loops.apply_affine, len(source), source.size, source, slope, shift, target)
    return y, m, v


@operator(fake=lambda dy, x, gamma, m, v, eps: _like(x))
def normalise_input(
    dy: Tensor, x: Tensor, gamma: Tensor, m: Tensor, v: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """dx, dgamma and dbeta."""
    dx, dgamma, dbeta = _like(x)
    if not is_dense(dx):
        total, dgamma, dbeta = gradient(upcast(dy), upcast(x), gamma, m, v, eps)
        return dx.copy_(total), dgamma, dbeta  # which lies as x does
    last, (left, right, target) = as_maps_or_pixels(dx, dy, x, dx)
    numbers = array(gamma.contiguous()), array(m), array(v), eps
    results = array(dgamma), array(dbeta)
    if not last:
        given = left, right, *numbers, target, *results
        parallel_for(loops.batch_norm_backward_maps, len(m), 2 * left.size, *given)
        return dx, dgamma, dbeta
    mean = numbers[1]
    slope, x_coefficient, shift = np.empty((3, len(mean)), mean.dtype)
    sums = _sums(left, right, np.zeros_like(mean), mean)
    loops.grad_coefficients_of_channels(
        *sums, len(left), *numbers, *results, slope, x_coefficient, shift
    )
    coefficients = slope, x_coefficient, shift
    parallel_for(loops.apply_grad, len(left), 2 * left.size, left, right, *coefficients, target)
    return dx, dgamma, dbeta


def _sums(a: Any, b: Any, k: Any, m: Any) -> Any:
    """Sum (a - k), and sum (a - k) (b - m), of every channel of pixels (M, C)."""
    blocks = -(-len(a) // loops.BLOCK)
    parts = np.empty((2, blocks, len(k)), a.dtype)
    parallel_for(loops.sums_of_pixels, blocks, b.size, a, b, k, m, *parts)
    return [loops.add_up(part) for part in parts]


def gradient(
    dy: Tensor, x: Tensor, gamma: Tensor, m: Tensor, v: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The same in operations that torch can differentiate again, if m and v are functions of x."""
    count, root = x.numel() / x.shape[1], (v + eps).rsqrt()
    dbeta = dy.sum(rest(x))
    dgamma = (dy * (x - along(m, x))).sum(rest(x)) * root
    slope, x_coefficient = gamma * root, -gamma * root * root * dgamma / count
    shift = -slope * dbeta / count - x_coefficient * m
    dx = dy * along(slope, x) + torch.addcmul(along(shift, x), x, along(x_coefficient, x))
    return dx, dgamma, dbeta


def rest(x: Tensor) -> list[int]:
    """Every dimension but the channels."""
    return [0, *range(2, x.dim())]


def along(per_channel: Tensor, x: Tensor) -> Tensor:
    """(C) shaped to meet (N, C, ...)."""
    return per_channel.view(-1, *[1] * (x.dim() - 2))


def _as_channels(info: Any, dim: int | None, t: Any) -> Any:
    """A vmapped volume with the new dimension among its channels: (N, B*C, ...), or (B*C)."""
    if not isinstance(t, Tensor):
        return t
    t = t.expand(info.batch_size, *t.shape) if dim is None else t.movedim(dim, 0)
    return t.flatten(0, 1) if t.dim() == 2 else t.movedim(0, 1).flatten(1, 2)


def _vmap(kernel: Any) -> Any:
    def rule(info: Any, in_dims: tuple, *inputs: Any) -> tuple:
        folded = (_as_channels(info, d, t) for d, t in zip(in_dims, inputs, strict=True))
        volume, *numbers = kernel(*folded)
        size = info.batch_size, -1
        return (volume.unflatten(1, size), *(t.unflatten(0, size) for t in numbers)), (1, 0, 0)

    return rule


for _kernel in (normalise, normalise_input):
    torch.library.register_vmap(_kernel, _vmap(_kernel))  # type: ignore[arg-type]
