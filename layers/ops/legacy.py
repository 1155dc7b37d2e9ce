"""Kernels as operators: one opaque node each to `torch.compile`, `torch.export` and FakeTensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .geometry import Pair
from .precision import in_conv_precision

KERNELS: dict[str, Callable[..., Any]] = {}  # by name, the function behind each operator

LIBRARY = torch.library.Library("convnets", "FRAGMENT")


NO_DERIVATIVES = (
    "an exported network has no derivatives: export layers.to_torch(network) to differentiate it"
)


class NotDifferentiable(torch.autograd.Function):
    """An operator that no Function of ours calls, as in an exported program, which has none."""

    @staticmethod
    def forward(operator: Callable[..., Any], *inputs: Any) -> Any:
        return operator(*inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> None:
        raise NotImplementedError(NO_DERIVATIVES)


def operator(
    *, fake: Callable[..., Any], convolves: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a kernel as torch.ops.convnets.<its name>, for every device.

    The decorated name is then the operator.  It has no derivative of its own: an autograd
    Function calls it.  (`torch.library.custom_op` does the same with more layers of Python, which
    a small network can feel.)

    Args:
        fake: the kernel without the computation: outputs of the right shape, dtype and layout.
        convolves: whether its products on a GPU have the precision of torch's convolutions.
    """

    def register(kernel: Callable[..., Any]) -> Callable[..., Any]:
        name = f"convnets::{kernel.__name__}"
        torch.library.define(name, torch.library.infer_schema(kernel, mutates_args=()))
        torch.library.impl(name, "default", kernel)
        if convolves:
            torch.library.impl(name, "CUDA", in_conv_precision(kernel))
        torch.library.register_fake(name, fake)
        KERNELS[kernel.__name__] = kernel
        registered = getattr(torch.ops.convnets, kernel.__name__).default

        def without_gradients(*inputs: Any) -> Any:
            """What autograd calls: of what a kernel does inside, nothing is recorded."""
            if torch.is_grad_enabled() and torch._C._any_requires_grad(*inputs):
                return NotDifferentiable.apply(registered, *inputs)
            if forward_ad._current_level >= 0 and any(map(_has_tangent, inputs)):
                raise NotImplementedError(NO_DERIVATIVES)
            with torch._C._AutoDispatchBelowAutograd():
                return registered._op(*inputs)

        LIBRARY.impl(kernel.__name__, without_gradients, "Autograd")
        return registered

    return register


def _has_tangent(value: Any) -> bool:
    return isinstance(value, Tensor) and forward_ad.unpack_dual(value).tangent is not None


def refuse_complex(name: str, *tensors: Tensor | None) -> None:
    """Raise, as torch does, where an operator has no meaning for complex numbers.

    Raises:
        NotImplementedError: which is torch's type, and a RuntimeError.
    """
    for tensor in tensors:
        if tensor is not None and tensor.is_complex():
            raise NotImplementedError(
                f"{name} is not implemented for complex numbers, got {tensor.dtype}"
            )


def require_float(name: str, *tensors: Tensor | None) -> None:
    """The same for an operator that has no meaning for whole numbers or bool either.

    Raises:
        NotImplementedError: which is torch's type, and a RuntimeError.
    """
    for tensor in tensors:
        if tensor is not None and not tensor.is_floating_point():
            raise NotImplementedError(f"{name} needs floating-point numbers, got {tensor.dtype}")


def upcast(values: Tensor) -> Tensor:
    """Values to add up: half precision in float32, as torch's own kernels do it."""
    return values.float() if values.element_size() < 4 else values


def upcast_dtype(values: Tensor) -> torch.dtype:
    """That of `upcast(values)`."""
    return torch.float32 if values.element_size() < 4 else values.dtype


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
