"""Sums over a batch, one for each channel: what batch normalisation spends its time on.

They are limited by memory, so every number is fetched as few times as possible: a block of the
batch at a time, and all that is wanted of it while it lies in the cache.  Products are summed block
upon block into one volume of a block's size (one fused multiply-add each), and that over its pixels
at the end.  `torch.var_mean` and a product followed by a sum take three to ten times as long.

Shapes: x and dy (N, C, ...), everything else (C).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .operator import operator

CPU_BLOCK = 2 << 20  # bytes of one volume at a time
CUDA_BLOCK = 256 << 20


def _blocks(x: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Matching parts of volumes of the same shape: some images, or some rows of one."""
    volumes = [t.reshape(*t.shape[:2], *(t.shape[2:] or (1,))) for t in (x, *others)]
    n, row = len(x), volumes[0][:1, :, :1].numel() * x.element_size()
    budget, rows = CUDA_BLOCK if x.is_cuda else CPU_BLOCK, volumes[0].shape[2]
    images, some = max(1, budget // max(1, row * rows)), max(1, min(rows, budget // max(1, row)))
    for first in range(0, n, images):
        for top in range(0, rows, some):
            yield tuple(v[first : first + images, :, top : top + some] for v in volumes)


def _rest(x: Tensor) -> list[int]:
    return [0, *range(2, x.dim())]


def _along(per_channel: Tensor, x: Tensor) -> Tensor:
    return per_channel.view(-1, *[1] * (x.dim() - 2))


class _Total:
    """A sum of products a * b of blocks, per channel."""

    def __init__(self) -> None:
        self.volume: Tensor | None = None

    def add(self, a: Tensor, b: Tensor) -> None:
        if self.volume is None:
            self.volume = a * b
        else:  # the last block may be smaller
            self.volume[: len(a), :, : a.shape[2]].addcmul_(a, b)

    def over(self, x: Tensor) -> Tensor:
        if self.volume is None:
            return x.new_zeros(x.shape[1])
        return self.volume.sum(_rest(self.volume))


def _per_channel(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[1]), x.new_empty(x.shape[1])


@operator(fake=_per_channel)
def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (divided by the number of values) of each channel.

    Around the mean a of every eighth pixel of every eighth row, which is near m (any a is right,
    but one far away costs digits), so that every number is fetched once:
        m = a + sum (x - a) / M        v = sum (x - a)^2 / M - (m - a)^2
    """
    some = x[:, :, ::8, ::8] if x.dim() == 4 else x[:, :, ::8] if x.dim() == 3 else x
    around = some.mean(_rest(x))
    change, squares = x.new_zeros(x.shape[1]), _Total()
    for (part,) in _blocks(x):
        centred = part - _along(around, part)
        change += centred.sum(_rest(part))
        squares.add(centred, centred)
    count = x.numel() / x.shape[1]
    change /= count
    return around + change, (squares.over(x) / count - change * change).clamp_min_(0)


@operator(fake=lambda dy, x: _per_channel(x))
def sums(dy: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Sum dy, and sum dy * x."""
    total, products = dy.new_zeros(x.shape[1]), _Total()
    for part, other in _blocks(dy, x):
        total += part.sum(_rest(part))
        products.add(part, other)
    return total, products.over(x)


@operator(fake=lambda slope, dy, tilt, x, constant: torch.empty_like(x))
def combination(slope: Tensor, dy: Tensor, tilt: Tensor, x: Tensor, constant: Tensor) -> Tensor:
    """slope * dy - tilt * x - constant."""
    out = torch.empty_like(x)
    for part, left, right in _blocks(out, dy, x):
        torch.addcmul(_along(-constant, part), right, _along(-tilt, part), out=part)
        part.addcmul_(left, _along(slope, part))
    return out


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


for _kernel in (moments, sums, combination):
    torch.library.register_vmap(_kernel, _vmap(_kernel))  # type: ignore[arg-type]
