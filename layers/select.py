"""Keep some values and zero the others: what the backward of a maximum does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .operator import operator

_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes per element


@operator(fake=lambda values, here: torch.empty_like(values))
def select(values: Tensor, here: Tensor) -> Tensor:
    """The values where `here`, zero elsewhere: their bits times one or zero.  Same shapes.

    As floats, infinity times zero would be NaN; `torch.where` is right too, but on a CPU several
    times slower (docs/performance.md).  Not differentiable: for the inside of a Function.
    """
    return (values.view(_BITS[values.element_size()]) * here).view(values.dtype)


def select_into(out: Tensor, values: Tensor, here: Tensor) -> None:
    """out = select(values, here), without a copy in between."""
    bits = _BITS[values.element_size()]
    torch.mul(values.view(bits), here, out=out.view(bits))


@torch.library.register_vmap("convnets::select")
def _(info: Any, in_dims: tuple, values: Tensor, here: Tensor) -> tuple[Tensor, int]:
    values, here = (
        t.expand(info.batch_size, *t.shape) if dim is None else t.movedim(dim, 0)
        for t, dim in zip((values, here), in_dims, strict=True)
    )
    return select(values, here), 0
