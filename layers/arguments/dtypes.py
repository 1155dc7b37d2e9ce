"""Which numbers a function takes."""

from __future__ import annotations

import torch
from torch import Tensor


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


def refuse_unordered(name: str, tensor: Tensor) -> None:
    """Raise, as torch does, where numbers are compared and these are complex, or no numbers.

    Raises:
        NotImplementedError: which is torch's type, and a RuntimeError.
    """
    refuse_complex(name, tensor)
    if tensor.dtype == torch.bool:
        raise NotImplementedError(f"{name} compares numbers, got torch.bool")
