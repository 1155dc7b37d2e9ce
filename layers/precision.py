"""In which precision a GPU multiplies float32 numbers: "ieee", or "tf32" with 10 bits of mantissa.

torch has two flags, one for convolutions (by default tf32) and one for matrix products (by default
ieee).  Our convolutions are matrix products, and would follow the wrong one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

_conv = torch.backends.cudnn.conv  # type: ignore[attr-defined]


def conv_precision() -> str:
    """ "tf32" or "ieee": what torch's flag for float32 convolutions says, and ours follow.

    Read it here or as `torch.backends.cudnn.conv.fp32_precision`: once that has been set, torch
    raises when its older flag, `torch.backends.cudnn.allow_tf32`, is read.
    """
    return "tf32" if _conv.fp32_precision == "tf32" else "ieee"


def in_conv_precision(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel, whose matrix products on a GPU take the precision of torch's convolutions."""

    @functools.wraps(kernel)
    def call(*args: Any) -> Any:
        matmul = torch.backends.cuda.matmul
        before, wanted = matmul.fp32_precision, _conv.fp32_precision
        if before == wanted:
            return kernel(*args)
        matmul.fp32_precision = wanted
        try:
            return kernel(*args)
        finally:
            matmul.fp32_precision = before

    return call
