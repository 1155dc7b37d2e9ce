"""Operators that `torch.vmap` meets by themselves, under a Function whose rule is generated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..ops.norm import batch_norm, batch_norm_backward
from ..ops.pointwise import one_hot


def _as_channels(info: Any, dim: int | None, t: Any) -> Any:
    """A vmapped (N, C, ...) with the new dimension among its channels: (N, B*C, ...), or (B*C)."""
    if not isinstance(t, Tensor):
        return t
    t = t.expand(info.batch_size, *t.shape) if dim is None else t.movedim(dim, 0)
    return t.flatten(0, 1) if t.dim() == 2 else t.movedim(0, 1).flatten(1, 2)


def _by_channel(operator: Callable[..., Any]) -> Callable[..., Any]:
    def rule(info: Any, in_dims: tuple, *inputs: Any) -> tuple:
        folded = (_as_channels(info, d, t) for d, t in zip(in_dims, inputs, strict=True))
        images, *channels = operator(*folded)
        size = info.batch_size, -1
        return (images.unflatten(1, size), *(t.unflatten(0, size) for t in channels)), (1, 0, 0)

    return rule


torch.library.register_vmap("convnets::batch_norm", _by_channel(batch_norm))
torch.library.register_vmap("convnets::batch_norm_backward", _by_channel(batch_norm_backward))


@torch.library.register_vmap("convnets::one_hot")
def _(info: Any, in_dims: tuple, indices: Tensor, *constants: Any) -> tuple[Tensor, int]:
    return one_hot(indices.movedim(in_dims[0], 0), *constants), 0
