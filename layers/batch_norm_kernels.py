"""Batch normalisation's passes over a batch: sums for each channel, then a line or a plane through
every number.

They are limited by memory, and torch's operations would go through it several times.  On a CPU they
are loops (loops.py), in two forms, so that the inner loop runs along memory: over maps (N*C, P),
one of a channel's P pixels after the other; or, channels last, over pixels (M, C), M = N*P, whose
channels lie side by side.  Each does its part, first to last, of the maps, or of the (blocks of)
pixels.

Shapes: x and dy (N, C, ...), everything else (C).  Letters as in batch_norm.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .loops import array, divide, lay, lies_plainly, loop
from .operator import operator

BLOCK = 128  # pixels added up at a time: long sums in float32 lose digits
FAR = 16  # (m - k)^2 / v up to which v has all digits but one


@loop
def sums_of_maps(a, b, k, m, total, product, first, last):
    """total[map] = sum (a - k[c]),  product[map] = sum (a - k[c]) (b - m[c])."""
    for i in range(first, last):
        c = i % len(k)
        s = q = a.dtype.type(0)
        for p in range(a.shape[1]):
            d = a[i, p] - k[c]
            s += d
            q += d * (b[i, p] - m[c])
        total[i], product[i] = s, q


@loop
def sums_of_pixels(a, b, k, m, total, product, first, last):
    """The same for blocks of pixels, total[block, c]."""
    for block in range(first, last):
        s, q = total[block], product[block]
        s[:], q[:] = 0, 0
        begin, end = block * BLOCK, min(len(a), (block + 1) * BLOCK)
        for p in range(begin, end - 1, 2):  # two at a time: s and q are fetched half as often
            for c in range(len(k)):
                d, e = a[p, c] - k[c], a[p + 1, c] - k[c]
                s[c] += d + e
                q[c] += d * (b[p, c] - m[c]) + e * (b[p + 1, c] - m[c])
        if (end - begin) % 2:
            for c in range(len(k)):
                d = a[end - 1, c] - k[c]
                s[c] += d
                q[c] += d * (b[end - 1, c] - m[c])


@loop
def line_of_maps(x, slope, shift, y, first, last):
    """y = slope[c] x + shift[c]."""
    for i in range(first, last):
        c = i % len(slope)
        for p in range(x.shape[1]):
            y[i, p] = slope[c] * x[i, p] + shift[c]


@loop
def line_of_pixels(x, slope, shift, y, first, last):
    for p in range(first, last):
        for c in range(len(slope)):
            y[p, c] = slope[c] * x[p, c] + shift[c]


@loop
def plane_of_maps(a, b, slope, tilt, shift, y, first, last):
    """y = slope[c] a + tilt[c] b + shift[c]."""
    for i in range(first, last):
        c = i % len(slope)
        for p in range(a.shape[1]):
            y[i, p] = slope[c] * a[i, p] + tilt[c] * b[i, p] + shift[c]


@loop
def plane_of_pixels(a, b, slope, tilt, shift, y, first, last):
    for p in range(first, last):
        for c in range(len(slope)):
            y[p, c] = slope[c] * a[p, c] + tilt[c] * b[p, c] + shift[c]


@loop
def add_up(parts):
    """Sum over parts (parts, C), in float64."""
    total = np.zeros(parts.shape[1])
    for part in range(len(parts)):
        for c in range(len(total)):
            total[c] += parts[part, c]
    return total


@loop
def statistics(total, squares, k, count, gamma, beta, eps, m, v, slope, shift):
    """m and v, and the line y = slope x + shift, from sums around k; whether k was far from m.

    v = E[(x - k)^2] - E[x - k]^2, which loses digits if it was.
    """
    far = False
    for c in range(len(k)):
        change = total[c] / count
        m[c] = k[c] + change
        v[c] = max(squares[c] / count - change * change, 0)
        far |= change * change > FAR * v[c]
        slope[c] = gamma[c] / np.sqrt(v[c] + eps)
        shift[c] = beta[c] - m[c] * slope[c]
    return far


@loop
def slopes(total, shared, count, gamma, m, v, eps, dgamma, dbeta, slope, tilt, shift):
    """dgamma, dbeta, and the plane dx = slope dy + tilt x + shift, from the sums."""
    for c in range(len(m)):
        root = 1 / np.sqrt(v[c] + eps)
        dbeta[c], dgamma[c] = total[c], shared[c] * root
        slope[c] = gamma[c] * root
        tilt[c] = -slope[c] * root * dgamma[c] / count
        shift[c] = -slope[c] * dbeta[c] / count - tilt[c] * m[c]


def _like(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty(x.shape[1]), x.new_empty(x.shape[1])


@operator(fake=lambda x, gamma, beta, eps: _like(x))
def normalise(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """y, and the mean m and variance v (divided by the number of values) of each channel."""
    y, m, v = _like(x)
    if not lies_plainly(y):
        v, m = torch.var_mean(x, rest(x), correction=0)
        slope = gamma * (v + eps).rsqrt()
        return torch.addcmul(along(beta - m * slope, x), x, along(slope, x), out=y), m, v
    last, (source, target) = lay(y, x, y)
    if not last:
        source, target = (a.reshape(-1, a.shape[2]) for a in (source, target))
    k = source[:BLOCK].mean(0) if last else source[: len(m), :BLOCK].mean(1)
    slope, shift = np.empty_like(k), np.empty_like(k)
    numbers = array(gamma.contiguous()), array(beta.contiguous())
    results = array(m), array(v)
    count = x.numel() / len(m)
    sums = _sums(last, source, source, k, k)
    if statistics(*sums, k, count, *numbers, eps, *results, slope, shift):
        k = results[0].copy()
        sums = _sums(last, source, source, k, k)
        statistics(*sums, k, count, *numbers, eps, *results, slope, shift)
    line = line_of_pixels if last else line_of_maps
    divide(line, len(source), source.size, source, slope, shift, target)
    return y, m, v


@operator(fake=lambda dy, x, gamma, m, v, eps: _like(x))
def normalise_input(
    dy: Tensor, x: Tensor, gamma: Tensor, m: Tensor, v: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """dx, dgamma and dbeta."""
    dx, dgamma, dbeta = _like(x)
    if not lies_plainly(dx):
        total, dgamma, dbeta = gradient(dy, x, gamma, m, v, eps)
        return dx.copy_(total), dgamma, dbeta  # which lies as x does
    last, (left, right, target) = lay(dx, dy, x, dx)
    if not last:
        left, right, target = (a.reshape(-1, a.shape[2]) for a in (left, right, target))
    mean, numbers = array(m), (array(gamma.contiguous()), array(m), array(v))
    results = array(dgamma), array(dbeta)
    slope, tilt, shift = np.empty((3, len(mean)), mean.dtype)
    count = x.numel() / len(mean)
    sums = _sums(last, left, right, np.zeros_like(mean), mean)
    slopes(*sums, count, *numbers, eps, *results, slope, tilt, shift)
    plane = plane_of_pixels if last else plane_of_maps
    divide(plane, len(left), 2 * left.size, left, right, slope, tilt, shift, target)
    return dx, dgamma, dbeta


def _sums(last: bool, a: Any, b: Any, k: Any, m: Any) -> Any:
    """Sum (a - k), and sum (a - k) (b - m): of each map, or of each block of pixels, then all."""
    count = -(-len(a) // BLOCK) if last else len(a)
    parts = np.empty((2, count, len(k)) if last else (2, count), a.dtype)
    sums = sums_of_pixels if last else sums_of_maps
    divide(sums, count, b.size, a, b, k, m, *parts)
    return [add_up(part) for part in parts.reshape(2, -1, len(k))]


def gradient(
    dy: Tensor, x: Tensor, gamma: Tensor, m: Tensor, v: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The same in operations that torch can differentiate again, if m and v are functions of x."""
    count, root = x.numel() / x.shape[1], (v + eps).rsqrt()
    dbeta = dy.sum(rest(x))
    dgamma = (dy * (x - along(m, x))).sum(rest(x)) * root
    slope, tilt = gamma * root, -gamma * root * root * dgamma / count
    shift = -slope * dbeta / count - tilt * m
    dx = dy * along(slope, x) + torch.addcmul(along(shift, x), x, along(tilt, x))
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
