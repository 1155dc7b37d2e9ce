"""Keep some numbers and zero the others: what the backward of a maximum does.

One pass over memory: on a CPU a loop (jit.py), elsewhere the one kernel that torch has for it.

Not differentiable: see `Gate`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..ops.legacy import operator
from .jit import array, has_jit, jit, parallel_for


@operator(fake=lambda values, y: torch.empty_like(values))
def gate(values: Tensor, y: Tensor) -> Tensor:
    """The values where y is not 0, else zero.  Same shapes and dtypes; y is never negative."""
    out = torch.empty_like(values)
    if has_jit(values) and values.stride() == y.stride() == out.stride():
        runs = [array(t.as_strided((t.numel(),), (1,))) for t in (values, y, out)]
        parallel_for(relu_backward_loop, len(runs[0]), 2 * len(runs[0]), *runs)
        return out
    # `torch.where(y > 0, values, 0)` is two kernels, and loses the gradient where y is NaN.
    return torch.ops.aten.threshold_backward.grad_input(values, y, 0, grad_input=out)


@jit
def relu_backward_loop(values, y, out, first, last):
    nothing = values.dtype.type(0)
    for i in range(np.uint64(first), np.uint64(last)):  # unsigned: i counts from the front
        out[i] = values[i] if y[i] != nothing else nothing


@torch.library.register_vmap("convnets::gate")
def _(info: Any, in_dims: tuple, values: Tensor, y: Tensor) -> tuple[Tensor, int]:
    values, y = (
        t.expand(info.batch_size, *t.shape) if dim is None else t.movedim(dim, 0)
        for t, dim in zip((values, y), in_dims, strict=True)
    )
    return gate(values, y), 0
