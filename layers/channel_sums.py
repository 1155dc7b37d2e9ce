"""Sums over a batch, one for each channel: what batch normalisation spends its time on.

They are limited by memory, so every number is fetched as few times as possible: a block of the
batch at a time, and all that is wanted of it while it lies in the cache.  Products are summed block
upon block into one volume of a block's size (one fused multiply-add each), and that over its pixels
at the end.  `torch.var_mean` and a product followed by a sum take three to ten times as long.

Shapes: x and dy (N, C, ...), everything else (C).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from typing import Any

import torch
from torch import Tensor

from .operator import operator
from .workspace import workspace

CPU_BLOCK = 4 << 20  # bytes of one volume at a time
CUDA_BLOCK = 256 << 20
FAR = 16  # m^2 / v up to which E[x^2] - m^2 is taken: it still has all digits but one


def _blocks(*volumes: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Matching parts of volumes of the same shape: some images, or some rows of one."""
    x = volumes[0]
    budget = (CUDA_BLOCK if x.is_cuda else CPU_BLOCK) // x.element_size()
    if x.numel() <= budget:
        yield volumes
        return
    if x.dim() < 3:
        volumes = tuple(v.unsqueeze(2) for v in volumes)
    n, channels, height, *width = volumes[0].shape
    row = channels * prod(width)
    images, rows = max(1, budget // (row * height)), min(height, max(1, budget // row))
    for first in range(0, n, images):
        for top in range(0, height, rows):
            yield tuple(v[first : first + images, :, top : top + rows] for v in volumes)


def _sum(x: Tensor) -> Tensor:
    """Over all but the channels: within each image first.

    torch divides that sum among its threads as it does products, so that a thread finds what it
    has written; were all taken at once, it would divide the channels.
    """
    return (x.sum(list(range(2, x.dim()))) if x.dim() > 2 else x).sum(0)


def _along(per_channel: Tensor, x: Tensor) -> Tensor:
    return per_channel.view(-1, *[1] * (x.dim() - 2))


def _sums(blocks: Iterable[tuple[Tensor, ...]]) -> tuple[Tensor, Tensor]:
    """Sum a, and sum a * b, over blocks (a, b) of two volumes."""
    pairs = iter(blocks)
    a, b = next(pairs)
    total, products = _sum(a), torch.mul(a, b, out=_room(a))
    for a, b in pairs:  # the last may be smaller
        total += _sum(a)
        products[: len(a), :, : a.shape[2]].addcmul_(a, b)
    return total, _sum(products)


def _room(like: Tensor) -> Tensor:
    """Memory for a volume as `like`, from the workspace."""
    strides = torch.empty_like(like, device="meta").stride()
    return workspace(like, like.numel()).as_strided(like.shape, strides)


def _per_channel(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[1]), x.new_empty(x.shape[1])


@operator(fake=_per_channel)
def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean m and variance v (divided by the number of values) of each channel.

    v = E[x^2] - m^2 fetches every number once, but loses digits where m is far from 0.  If it is,
    the same again around it:  v = E[(x - m)^2] - E[x - m]^2.
    """
    count = x.numel() / x.shape[1]
    m, squares = (s / count for s in _sums((part, part) for (part,) in _blocks(x)))
    v = squares - m * m
    if x.is_cuda or bool((m * m > FAR * v).any()):  # a GPU is sooner done than asked
        centred = (part - _along(m, part) for (part,) in _blocks(x))
        change, squares = (s / count for s in _sums((part, part) for part in centred))
        m, v = m + change, squares - change * change
    return m, v.clamp_min_(0)


@operator(fake=lambda dy, x: _per_channel(x))
def sums(dy: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Sum dy, and sum dy * x."""
    return _sums(_blocks(dy, x))


@operator(fake=lambda x, slope, shift: torch.empty_like(x))
def affine(x: Tensor, slope: Tensor, shift: Tensor) -> Tensor:
    """slope * x + shift."""
    out = torch.empty_like(x)
    for part, values in _blocks(out, x):
        _affine(values, slope, shift, out=part)
    return out


@operator(fake=lambda slope, dy, tilt, x, constant: torch.empty_like(x))
def combination(slope: Tensor, dy: Tensor, tilt: Tensor, x: Tensor, constant: Tensor) -> Tensor:
    """slope * dy - tilt * x - constant."""
    out = torch.empty_like(x)
    for part, left, right in _blocks(out, dy, x):
        _affine(right, -tilt, -constant, out=part).addcmul_(left, _along(slope, part))
    return out


def _affine(x: Tensor, slope: Tensor, shift: Tensor, out: Tensor) -> Tensor:
    """slope * x + shift.

    Two numbers per channel in one operation are vectorised only where channels lie side by side;
    where pixels do, it would take four times as long.
    """
    slope, shift = _along(slope, x), _along(shift, x)
    if x.stride(1) == 1:
        return torch.addcmul(shift, x, slope, out=out)
    return torch.mul(x, slope, out=out).add_(shift)


def _as_channels(info: Any, dim: int | None, t: Tensor) -> Tensor:
    """A vmapped volume with the new dimension among its channels: (N, B*C, ...), or (B*C)."""
    t = t.expand(info.batch_size, *t.shape) if dim is None else t.movedim(dim, 0)
    return t.flatten(0, 1) if t.dim() == 2 else t.movedim(0, 1).flatten(1, 2)


def _vmap(kernel: Any) -> Any:
    def rule(info: Any, in_dims: tuple, *inputs: Tensor) -> tuple:
        outputs = kernel(*(_as_channels(info, d, t) for d, t in zip(in_dims, inputs, strict=True)))
        if isinstance(outputs, Tensor):
            return outputs.unflatten(1, (info.batch_size, -1)), 1
        return tuple(t.unflatten(0, (info.batch_size, -1)) for t in outputs), (0,) * len(outputs)

    return rule


for _kernel in (moments, sums, affine, combination):
    torch.library.register_vmap(_kernel, _vmap(_kernel))  # type: ignore[arg-type]
