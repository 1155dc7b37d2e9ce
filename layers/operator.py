"""Kernels as operators: one opaque node each to `torch.compile`, `torch.export` and FakeTensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .geometry import Pair


def operator(*, fake: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a kernel as torch.ops.convnets.<its name>, for every device.

    The decorated name is then the operator.  It has no derivative of its own: an autograd
    Function calls it.  (`torch.library.custom_op` does the same with two more layers of Python,
    which a small network can feel.)

    Args:
        fake: the kernel without the computation: outputs of the right shape, dtype and layout.
    """

    def register(kernel: Callable[..., Any]) -> Callable[..., Any]:
        name = f"convnets::{kernel.__name__}"
        torch.library.define(name, torch.library.infer_schema(kernel, mutates_args=()))
        torch.library.impl(name, "default", kernel)
        torch.library.register_fake(name, fake)
        return getattr(torch.ops.convnets, kernel.__name__).default

    return register


def refuse_complex(name: str, x: Tensor) -> None:
    """
    Raises:
        NotImplementedError: complex numbers, for which torch has no such operator either.
    """
    if x.is_complex():
        raise NotImplementedError(f"{name} is not implemented for complex numbers, got {x.dtype}")


def require_float(name: str, x: Tensor) -> None:
    """
    Raises:
        NotImplementedError: whole, complex or truth values, as torch refuses them.
    """
    if not x.is_floating_point():
        raise NotImplementedError(f"{name} needs floating-point numbers, got {x.dtype}")


def wide(values: Tensor) -> Tensor:
    """Values to add up: half precision in float32, as torch's own kernels do it."""
    return values.float() if values.element_size() < 4 else values


def channels_last(like: Tensor, *shape: int) -> Tensor:
    """An uninitialised volume (N, C, H, W) = shape, like another's numbers, channels last."""
    layout = torch.channels_last
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)


def image_size(volume: Tensor) -> Pair:
    """(H, W) of (N, C, H, W), as numbers that an operator accepts.

    Under `torch.jit.trace`, with which TensorBoard draws its graph, sizes are tensors.
    """
    height, width = volume.shape[2:]
    return (int(height), int(width)) if torch.jit.is_tracing() else (height, width)
