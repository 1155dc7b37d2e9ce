"""L2-norm pooling, and any other power: "other functions, such as average pooling or even L2-norm
pooling" (the chapter, "General pooling").

    y[n,c,q] = (sum over the pixels of window q of  |x|^p)^(1/p)
    dx       = sign(x) |x|^(p-1) * sum over the windows q that see the pixel of  dy[q] y[q]^(1-p)

Where y = 0 its slope is infinite, and a single black window would turn every gradient into NaN.  0
is a subgradient of the norm there, and is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import torch
from torch import Tensor

from . import backends
from .arguments.dtypes import refuse_complex
from .arguments.pooling import check_images, pooling_geometry
from .autograd import PerImage, may_be_differentiated
from .interop.autocast import autocast_float32
from .interop.function import graph_node
from .interop.memory_format import lp_pool2d_is_channels_last
from .interop.overrides import overridable
from .interop.tracing import image_size
from .max_pool import max_pool2d_with_switches
from .ops import pool as ops
from .ops.dtypes import upcast
from .ops.geometry import Geometry
from .ops.registry import OPERATORS


class LPPool(PerImage):
    """y = lp_pool2d(x, p):  dx = lp_pool2d_backward(dy, x, y, p)."""

    forward = staticmethod(ops.lp_pool2d)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, ctx.p, ctx.geometry, ctx.output_size, _, ctx.kernels = inputs
        ctx.channels_last = lp_pool2d_is_channels_last(x, image_size(x))  # of dx
        ctx.save_for_backward(x, output)
        ctx.save_for_forward(x, output)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple:
        x, y = ctx.saved_tensors
        if may_be_differentiated():
            definition = OPERATORS["lp_pool2d_backward"].definition  # which torch can record
            dx = definition(dy, x, y, ctx.p, Geometry.unflatten(ctx.geometry))
        else:
            options = ctx.geometry, ctx.channels_last, ctx.kernels
            dx = ops.lp_pool2d_backward(dy, x, y, ctx.p, *options)
        return dx, *[None] * 5

    @staticmethod
    def jvp(ctx: Any, x_t: Tensor, *_: None) -> Tensor:
        """dy = y^(1-p) * sum over the taps of  sign(x) |x|^(p-1) dx."""
        (x, y, x_t), dtype = map(upcast, (*ctx.saved_tensors, x_t)), x_t.dtype
        shares = ops.power_slope(x, ctx.p) * x_t
        total = ops.sum_windows(shares, Geometry.unflatten(ctx.geometry), ctx.output_size)
        return (ops.root_slope(y, ctx.p) * total).to(dtype)


_lp_pool = graph_node(LPPool)


@overridable
def lp_pool2d(
    input: Tensor,
    norm_type: int | float,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The p-norm of every window:  y = (sum over the taps of |x|^p)^(1/p).

    Args:
        input: images, (N, C, H, W) or (C, H, W), any float dtype; whole numbers are made
            floats, and of an infinite p remain what they are.
        norm_type: p >= 1; 2 is the L2 norm, infinity the largest |x|, whose gradient goes to the
            first pixel that has it.  In between, the sums of |x|^p must be numbers of the dtype.
        kernel_size, stride: pixels, one number or (height, width); stride defaults to kernel_size.
        ceil_mode: round the number of windows up, so that the last may hang over the border.
    Returns:
        (N, C, H_out, W_out).
    Raises:
        ValueError: p < 1, which is no norm.
        RuntimeError: an image smaller than one window.
        NotImplementedError: complex numbers and a finite p.
    Derivatives: all orders, forward mode, vmap.
    Source: the chapter, "General pooling".
        Differs: torch computes sum of x^p, which is NaN or wrong for negative x and odd p, and so
        is its gradient.  With ceil_mode, torch scales up the norm of a window that hangs over;
        here pixels outside the image count as nothing.
    """
    if not norm_type >= 1:
        raise ValueError(f"norm_type must be at least 1, got {norm_type}")
    if norm_type == inf:
        return max_pool2d_with_switches(input.abs(), kernel_size, stride, ceil_mode=ceil_mode)[0]
    refuse_complex("lp_pool2d", input)
    if not input.is_floating_point():
        input = input.to(torch.get_default_dtype())
    input = autocast_float32("lp_pool2d", input)
    if input.dim() == 3:
        return lp_pool2d(input.contiguous()[None], norm_type, kernel_size, stride, ceil_mode)[0]
    check_images(input)
    geometry = pooling_geometry(kernel_size, stride, 0, 1)
    size = geometry.output_size(image_size(input), ceil_mode)
    options = lp_pool2d_is_channels_last(input, size), backends.kernels.enabled
    return _lp_pool(input, float(norm_type), geometry.flatten(), size, *options)


class LPPool2d(torch.nn.LPPool2d):
    """torch.nn.LPPool2d computed by our `lp_pool2d`."""

    def forward(self, input: Tensor) -> Tensor:
        return lp_pool2d(
            input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode
        )
