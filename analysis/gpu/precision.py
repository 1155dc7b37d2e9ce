"""The three precisions of matrix products on a GPU.

ieee   float32
tf32   float32 with operands rounded to a 10-bit mantissa (tensor cores)
bf16   torch.autocast to bfloat16
tf32x3 ieee, of which our convolutions may take three tf32 products: layers.backends.tf32x3
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from layers import backends

PRECISION_ORDER = ("tf32", "bf16", "ieee")  # the most used first, the slowest last


@contextmanager
def float32_products(precision: str) -> Iterator[None]:
    """Set the precision of float32 convolutions and matrix products, of both layer sets.

    These are torch's flags since 2.9; mixing them with the older `allow_tf32` raises an error.
    """
    cudnn: Any = torch.backends.cudnn
    flags = cudnn.conv, torch.backends.cuda.matmul
    before = [flag.fp32_precision for flag in flags]
    for flag in flags:
        flag.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    try:
        with backends.tf32x3.flags(enabled=precision == "tf32x3"):
            yield
    finally:
        for flag, value in zip(flags, before, strict=True):
            flag.fp32_precision = value


def set_cudnn_benchmark(precision: str) -> None:
    """Let cuDNN benchmark its algorithms, as in long training runs, except in ieee.

    There some algorithms take seconds per call, for each of a network's hundred layers.
    """
    torch.backends.cudnn.benchmark = precision in ("tf32", "bf16")
    torch.backends.cudnn.benchmark_limit = 4  # algorithms, instead of 10, to save time


def autocast(precision: str, device: str) -> torch.autocast:
    """The context of a forward pass."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")
