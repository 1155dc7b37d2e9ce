"""In which precision an operator adds numbers up."""

from __future__ import annotations

import torch
from torch import Tensor

HALF_PRECISION = (torch.float16, torch.bfloat16)


def upcast(values: Tensor) -> Tensor:
    """Values to be summed: half precision in float32, as in torch's own kernels."""
    return values.to(upcast_dtype(values))


def upcast_dtype(values: Tensor) -> torch.dtype:
    """The dtype of `upcast(values)`."""
    return torch.float32 if values.dtype in HALF_PRECISION else values.dtype
