"""L2-norm pooling, and any other power: "other functions, such as average pooling or even L2-norm
pooling" (the chapter, "General pooling")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .function import Function
from .pooling import avg_pool2d


class Root(Function):
    """y = s^(1/p) for s >= 0;  ds = dy y / (p s), and 0 where s = 0.

    At 0 the slope of a root is infinite, and a single black window would turn every gradient into
    NaN; 0 is a subgradient there of the norm that the root belongs to.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(s: Tensor, p: float) -> Tensor:
        return s.sqrt() if p == 2 else s ** (1 / p)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        s, ctx.p = inputs
        ctx.save_for_backward(s, output)
        ctx.save_for_forward(s, output)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple:
        return dy * Root.slope(ctx), None

    @staticmethod
    def jvp(ctx: Any, s_t: Tensor, _: None) -> Tensor:
        return s_t * Root.slope(ctx)

    @staticmethod
    def slope(ctx: Any) -> Tensor:
        s, y = ctx.saved_tensors
        return y / (ctx.p * torch.where(s > 0, s, 1))  # y is 0 where s is


@torch.compiler.allow_in_graph
def _root(s: Tensor, p: float) -> Tensor:
    return Root.apply(s, p)


def lp_pool2d(
    input: Tensor,
    norm_type: int | float,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The p-norm of every window:  y = (sum over the taps of |x|^p)^(1/p).

    Args:
        input: images, (N, C, H, W) or (C, H, W), any float dtype.
        norm_type: p >= 1; 2 is the L2 norm.
        kernel_size, stride: pixels, one number or (height, width); stride defaults to kernel_size.
        ceil_mode: round the number of windows up, so that the last may hang over the border.
    Returns:
        (N, C, H_out, W_out).
    Raises:
        ValueError: p < 1, which is no norm.
        RuntimeError: an image smaller than one window.
    Derivatives: all orders, forward mode, vmap.
    Source: the chapter, "General pooling".
        Differs: torch computes sum of x^p, which is NaN or wrong for negative x and odd p, and its
        gradient is NaN for a window of zeros.  With ceil_mode, torch scales up the norm of a
        window that hangs over; here pixels outside the image count as nothing.
    """
    if not norm_type >= 1:
        raise ValueError(f"norm_type must be at least 1, got {norm_type}")
    powers = input * input if norm_type == 2 else input.abs() ** norm_type
    total = avg_pool2d(powers, kernel_size, stride, 0, ceil_mode, divisor_override=1)
    return _root(total, float(norm_type))


class LPPool2d(torch.nn.LPPool2d):
    """torch.nn.LPPool2d computed by our `lp_pool2d`."""

    def forward(self, input: Tensor) -> Tensor:
        return lp_pool2d(
            input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode
        )
