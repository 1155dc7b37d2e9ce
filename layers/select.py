"""Keep some numbers and zero the others: what the backward of a maximum does.

On a CPU that is a loop (loops.py).  Where there is none, as in half precision: as floats, infinity
times zero would be NaN, and `torch.where` is several times slower on a CPU.  So the *bits* of the
numbers are multiplied, as integers, by one or zero.  Those flags are integers of the same width,
and comparisons write their result in their operands' own type: torch compares vectors of numbers
only then (docs/performance.md).

Not differentiable: see `Gate`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .loops import array, divide, has_loops, loop
from .operator import operator

BLOCK = 4 << 20  # bytes of values at a time
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes per element


def _bits(values: Tensor) -> Tensor:
    """The numbers as integers of the same width: a view."""
    return values.view(_INTEGERS[values.element_size()])


@operator(fake=lambda values, y: torch.empty_like(values))
def gate(values: Tensor, y: Tensor) -> Tensor:
    """The values where y is not 0, else zero.  Same shapes and dtypes; y is never -0."""
    out = torch.empty_like(values)
    if has_loops(values) and values.stride() == y.stride() == out.stride():
        runs = [array(t.as_strided((t.numel(),), (1,))) for t in (values, y, out)]
        divide(keep, len(runs[0]), 2 * len(runs[0]), *runs)
        return out
    for part, value, number in _blocks(*map(_bits, (out, values, y))):
        torch.ne(number, 0, out=part).mul_(value)  # only +0 has no bit set
    return out


@loop
def keep(values, y, out, first, last):
    nothing = values.dtype.type(0)
    for i in range(np.uint64(first), np.uint64(last)):  # unsigned: i counts from the front
        out[i] = values[i] if y[i] != nothing else nothing


def _blocks(*tensors: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """Some rows of each at a time, so that what is between them stays in the cache."""
    size = tensors[0].numel() * tensors[0].element_size()
    if size <= BLOCK:
        return [tensors]
    step = max(1, BLOCK * len(tensors[0]) // size)
    return zip(*(t.split(step) for t in tensors), strict=True)


@torch.library.register_vmap("convnets::gate")
def _(info: Any, in_dims: tuple, values: Tensor, y: Tensor) -> tuple[Tensor, int]:
    values, y = (
        t.expand(info.batch_size, *t.shape) if dim is None else t.movedim(dim, 0)
        for t, dim in zip((values, y), in_dims, strict=True)
    )
    return gate(values, y), 0
