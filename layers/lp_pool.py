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

from .autocast import autocast_float32
from .autograd import PerImage, may_be_differentiated
from .kernels import lp_pool_loops as loops
from .kernels.jit import has_jit, parallel_for
from .kernels.max_pool import chunks, is_channels_last, like, rows
from .kernels.window_sum import add_windows, spread_windows
from .max_pool import (
    WindowSpread,
    WindowSum,
    check,
    max_pool2d_with_switches,
    pooling_geometry,
)
from .ops.geometry import Geometry, Pair
from .ops.legacy import image_size, operator, refuse_complex, upcast
from .overrides import overridable


class NormPool(PerImage):
    """y as above, f(x, p, geometry, image_size, output_size)."""

    @staticmethod
    def forward(
        x: Tensor, p: float, geometry: Geometry, image_size: Pair, output_size: Pair
    ) -> Tensor:
        return norm_pool(x, p, geometry.flatten(), output_size)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, ctx.p, *ctx.sizes = inputs
        ctx.save_for_backward(x, output)
        ctx.save_for_forward(x, output)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple:
        (x, y), p = ctx.saved_tensors, ctx.p
        if may_be_differentiated():
            dx = _slope(x, p) * WindowSpread.apply(dy * _root_slope(y, p), *ctx.sizes)
        else:
            dx = norm_pool_input(dy, x, y, p, ctx.sizes[0].flatten())
        return dx, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, x_t: Tensor, *_: None) -> Tensor:
        (x, y), p = ctx.saved_tensors, ctx.p
        return _root_slope(y, p) * WindowSum.apply(_slope(x, p) * x_t, *ctx.sizes)


@operator(fake=lambda x, p, geometry, output_size: like(x, output_size))
def norm_pool(x: Tensor, p: float, geometry: Sequence[int], output_size: Sequence[int]) -> Tensor:
    """y.  (N, C, *output_size).  Only the L2 norm has loops of its own."""
    v = upcast(x)
    y, shape = like(x, output_size, v.dtype), Geometry.unflatten(geometry)
    if p == 2 and has_jit(v):
        last = is_channels_last(y)
        lanes, out = v.shape[1] if last else 1, rows(y, last)
        parts = out.shape[0] * out.shape[1]
        parallel_for(loops.l2_pool, parts, v.numel(), rows(v, last), tuple(geometry), lanes, out)
        return y.to(x.dtype)
    for some in chunks(x):
        part, total = v[some], y[some]
        add_windows(part, total, shape, times=_slope(part, p))  # |x|^p
        total.sqrt_() if p == 2 else total.pow_(1 / p)
    return y.to(x.dtype)


@operator(fake=lambda dy, x, y, p, geometry: like(x, x.shape[2:]))
def norm_pool_input(dy: Tensor, x: Tensor, y: Tensor, p: float, geometry: Sequence[int]) -> Tensor:
    """dx."""
    v, up, norm = upcast(x), upcast(dy), upcast(y)
    dx, shape = like(x, x.shape[2:], v.dtype), Geometry.unflatten(geometry)
    if p == 2 and has_jit(v):
        last = is_channels_last(dx)
        left, right, norms, out = (rows(t, last) for t in (up, v, norm, dx))
        arrays = left, right, norms, tuple(geometry), dx.shape[1] if last else 1, out
        parallel_for(loops.l2_pool_backward, len(out), 2 * v.numel(), *arrays)
        return dx.to(x.dtype)
    for some in chunks(x):
        share = _share(up[some], norm[some], p)
        spread_windows(share, dx[some], shape, times=_slope(v[some], p))
    return dx.to(x.dtype)


def _slope(x: Tensor, p: float) -> Tensor:
    """sign(x) |x|^(p-1)."""
    return x if p == 2 else x.sign() * x.abs() ** (p - 1)


def _root_slope(y: Tensor, p: float) -> Tensor:
    """y^(1-p), and 0 where y = 0."""
    positive = torch.where(y == 0, torch.inf, y)
    return positive.reciprocal() if p == 2 else torch.where(y == 0, 0, positive ** (1 - p))


def _share(dy: Tensor, y: Tensor, p: float) -> Tensor:
    """dy y^(1-p), and any finite number where y = 0: its pixels, by which it is multiplied, are 0.

    y plus one where it is zero, because `torch.where` is not vectorised on a CPU.
    """
    y = torch.eq(y, 0, out=torch.empty_like(y)).add_(y)
    return dy / y if p == 2 else dy * y ** (1 - p)


@torch.compiler.allow_in_graph
def _norm_pool(x: Tensor, p: float, geometry: Any, image_size: Any, output_size: Any) -> Tensor:
    return NormPool.apply(x, p, Geometry(*geometry), image_size, output_size)


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
        is its gradient.  With ceil_mode, torch scales up the norm of a
        window that hangs over; here pixels outside the image count as nothing.
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
        return lp_pool2d(input[None], norm_type, kernel_size, stride, ceil_mode)[0]
    check(input)
    geometry = pooling_geometry(kernel_size, stride, 0, 1)
    size = image_size(input)
    return _norm_pool(
        input, float(norm_type), geometry, size, geometry.output_size(size, ceil_mode)
    )


class LPPool2d(torch.nn.LPPool2d):
    """torch.nn.LPPool2d computed by our `lp_pool2d`."""

    def forward(self, input: Tensor) -> Tensor:
        return lp_pool2d(
            input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode
        )
