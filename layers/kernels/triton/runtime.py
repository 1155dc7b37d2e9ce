"""Triton, where it is: the decorator of kernels, their launch, and why a call is not for them.

A kernel is a function over blocks of values that Triton compiles for a GPU at its first launch.  It
comes with PyTorch on Linux; without it the rows of the table refuse every call, and say why.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ...ops.geometry import Geometry

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = tl = None

OLDEST = (8, 0)  # compute capability: Ampere, the first with bfloat16 and tf32
MAX_OFFSET = (1 << 31) - (1 << 16)  # offsets into memory have 32 bits; a block may pass the end
DTYPES = torch.float32, torch.float16, torch.bfloat16  # sums are in float32


def jit(function: Callable[..., Any]) -> Any:
    """The function as a Triton kernel; where there is no Triton, as it is."""
    return function if triton is None else triton.jit(function)


def jit_for_any(*counts: str) -> Callable[[Callable[..., Any]], Any]:
    """`jit`, compiled once for all values of some counts; else 1 and multiples of 16 are apart."""

    def decorate(function: Callable[..., Any]) -> Any:
        return function if triton is None else triton.jit(function, do_not_specialize=counts)

    return decorate


def launch(kernel: Any, programs: int | tuple[int, ...], *arguments: Any, **options: Any) -> None:
    """Queue so many programs of a kernel on the device of its first tensor.

    Args:
        programs: their number, up to 2^31 - 1, or numbers for two or three axes, of which the
            later ones go up to 65,535.
        options: num_warps and num_stages, and the kernel's constants by name.
    """
    grid = (programs,) if isinstance(programs, int) else programs
    device = arguments[0].device
    if device.type == "cuda" and device.index != torch.cuda.current_device():
        with torch.cuda.device(device):
            kernel[grid](*arguments, **options)
    else:
        kernel[grid](*arguments, **options)


def why_not_triton(*tensors: Tensor, numel: int = 0) -> str | None:
    """None, or why no kernel of this folder computes with these tensors.

    Args:
        numel: of an output that may be larger than they are.
    """
    like = tensors[0]
    if not is_gpu(like):
        return "it is for a GPU"
    if reason := unavailable(like.device.index):
        return reason
    for tensor in tensors:
        if tensor.is_floating_point() and tensor.dtype not in DTYPES:
            return f"it adds up in float32, for float16, bfloat16 and float32, not {tensor.dtype}"
    if not like.is_floating_point():
        return f"it is for floating-point numbers, not {like.dtype}"
    if max(numel, *map(_last_offset, tensors)) > MAX_OFFSET:
        return "offsets into memory have 32 bits there"
    return None


def is_gpu(tensor: Tensor) -> bool:
    return tensor.is_cuda


@cache
def unavailable(device: int) -> str | None:
    """None, or why a device runs no Triton kernels."""
    if triton is None:
        return "Triton is not installed: pip install triton"
    if not torch.cuda.is_available():
        return "there is no GPU"
    if torch.version.hip:
        return "it is for NVIDIA's GPUs"
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST:
        needed, found = (".".join(map(str, version)) for version in (OLDEST, capability))
        return f"it needs a GPU of compute capability {needed}, this one has {found}"
    try:
        triton.runtime.driver.active.utils  # noqa: B018, compiled by a C compiler when first asked
    except Exception as error:
        return f"Triton cannot launch kernels here: {str(error).splitlines()[0]}"
    return None


def _last_offset(tensor: Tensor) -> int:
    """As it lies, or as a copy without gaps."""
    pairs = zip(tensor.shape, tensor.stride(), strict=True)
    return max(tensor.numel(), sum(max(0, size - 1) * stride for size, stride in pairs))


def cdiv(size: int, block: int) -> int:
    """How many blocks cover them."""
    return -(-size // block)


def power_of_2(number: int) -> int:
    """The next one: what a block's sizes must be."""
    return 1 << (number - 1).bit_length()


def window(geometry: Geometry) -> dict[str, int]:
    """KH, KW, SH, ...: the constants of a kernel that slides windows."""
    pairs = zip("KSPD", geometry[:4], strict=True)
    return {f"{letter}{axis}": n for letter, (h, w) in pairs for axis, n in (("H", h), ("W", w))}
