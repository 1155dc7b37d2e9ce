"""In which precision a GPU multiplies float32 numbers: "ieee", or "tf32" with 10 bits of mantissa.

torch has two flags, one for convolutions (by default tf32) and one for matrix products (by default
ieee).  Our convolutions are matrix products, and would follow the wrong one.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_conv = torch.backends.cudnn.conv  # type: ignore[attr-defined]


def conv_precision() -> str:
    """ "tf32" or "ieee": what torch's flag for float32 convolutions says, and ours follow.

    Read it here or as `torch.backends.cudnn.conv.fp32_precision`: once that has been set, torch
    raises when its older flag, `torch.backends.cudnn.allow_tf32`, is read.
    """
    return "tf32" if _conv.fp32_precision == "tf32" else "ieee"


class _MatmulPrecision:
    """torch's flag for matrix products, set while kernels that convolve are queued.

    The flag belongs to the process: a product that another thread queues meanwhile sees it, too.
    Kernels of several threads may overlap: the first sets the flag, the last restores it.
    """

    def __init__(self) -> None:
        self.lock, self.kernels, self.before = threading.Lock(), 0, ""

    def __enter__(self) -> None:
        with self.lock:
            if not self.kernels:
                self.before = torch.backends.cuda.matmul.fp32_precision
                torch.backends.cuda.matmul.fp32_precision = _conv.fp32_precision
            self.kernels += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.kernels -= 1
            if not self.kernels:
                torch.backends.cuda.matmul.fp32_precision = self.before


_matmul_precision = _MatmulPrecision()


def in_conv_precision(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel, whose float32 products on a GPU take the precision of torch's convolutions."""

    @functools.wraps(kernel)
    def call(x: Tensor, *args: Any) -> Any:
        same = torch.backends.cuda.matmul.fp32_precision == _conv.fp32_precision
        if x.dtype != torch.float32 or (same and not _matmul_precision.kernels):
            return kernel(x, *args)
        with _matmul_precision:
            return kernel(x, *args)

    return call
