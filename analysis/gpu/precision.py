"""The three precisions of a GPU's products: float32 as it is, its operands cut short, bfloat16.

ieee   float32
tf32   float32, of which a product's operands keep 10 bits of the mantissa (tensor cores)
bf16   torch.autocast to bfloat16
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

FIRST_TO_LAST = ("tf32", "bf16", "ieee")  # what people train in first; the slowest last


@contextmanager
def float32_products(precision: str) -> Iterator[None]:
    """How convolutions and matrix products of float32 numbers are computed, by both layer sets.

    These are torch's flags since 2.9; mixing them with the older `allow_tf32` raises an error.
    """
    cudnn: Any = torch.backends.cudnn
    flags = cudnn.conv, torch.backends.cuda.matmul
    before = [flag.fp32_precision for flag in flags]
    for flag in flags:
        flag.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    try:
        yield
    finally:
        for flag, value in zip(flags, before, strict=True):
            flag.fp32_precision = value


def search(precision: str) -> None:
    """Let cuDNN benchmark its algorithms, as long training runs do, except in ieee.

    Some float32 algorithms take seconds a call, and a network benchmarks a hundred layers.
    """
    torch.backends.cudnn.benchmark = precision != "ieee"
    torch.backends.cudnn.benchmark_limit = 4  # instead of ten, to save time


def autocast(precision: str, device: str) -> torch.autocast:
    """Around a forward pass."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")
