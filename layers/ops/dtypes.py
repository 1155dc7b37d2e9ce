"""Which numbers an operator takes, and in which precision it adds them up."""

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


def refuse_complex(name: str, *tensors: Tensor | None) -> None:
    """Raise, as torch does, where an operator is not defined for complex numbers.

    Raises:
        NotImplementedError: which is torch's type, and a RuntimeError.
    """
    for tensor in tensors:
        if tensor is not None and tensor.is_complex():
            raise NotImplementedError(
                f"{name} is not implemented for complex numbers, got {tensor.dtype}"
            )


def require_float(name: str, *tensors: Tensor | None) -> None:
    """Raise where an operator is defined for floating-point numbers only.

    Raises:
        NotImplementedError: which is torch's type, and a RuntimeError.
    """
    for tensor in tensors:
        if tensor is not None and not tensor.is_floating_point():
            raise NotImplementedError(f"{name} needs floating-point numbers, got {tensor.dtype}")
