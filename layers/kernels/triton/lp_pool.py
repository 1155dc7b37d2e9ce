"""Norms of windows and their gradient, on a GPU.

    y[n,c,q]  = (sum over the taps k of  |x[n,c, S q + D k - P]|^p)^(1/p)
    dx[n,c,r] = sign(x) |x|^(p-1) * sum over the windows q that see pixel r of  dy[q] y[q]^(1-p)

A power is  |x|^p = 2^(p log2 |x|),  two functions that a GPU has an instruction for; p = 2, the
L2 norm, needs neither: it adds up squares.  0 is kept from the logarithm, and stays 0.
"""

from __future__ import annotations

from torch import Tensor

from ...ops.geometry import Geometry, Pair
from ...ops.registry import Kernel
from . import windows
from .runtime import jit, tl
from .windows import back, block, both, dense, lane_offset, of, split, through


@jit
def power(number, exponent):
    """number ** exponent of numbers that are not negative; 0 of 0, whatever the exponent."""
    black = number == 0
    return tl.where(black, 0.0, tl.exp2(exponent * tl.log2(tl.where(black, 1.0, number))))


@jit
def lp_pool2d_kernel(
    x, y, norm, x_height, x_width, x_n, x_c, x_h, x_w,
    positions, lanes, channels, height, width, LAST: tl.constexpr, BP: tl.constexpr,
    BL: tl.constexpr, G: tl.constexpr, WHOLE: tl.constexpr, STEPS: tl.constexpr,
    UNROLL: tl.constexpr, SQUARES: tl.constexpr,
):  # fmt: skip
    at, lane, exists, in_lane = block(positions, lanes, BP, BL)
    n, p, q = split(at, height, width)
    image = of(n * x_n, lane_offset(lane, channels, x_n, x_c, LAST), LAST)
    sums = tl.zeros(image.shape, tl.float32)
    for tap in tl.range(0, STEPS[0] * STEPS[1], loop_unroll_factor=UNROLL):
        row, column, seen = through(tap, p, q, x_height, x_width, exists, G, WHOLE)
        pixel = image + of(row * x_h + column * x_w, lane * 0, LAST)
        value = tl.load(x + pixel, mask=both(seen, in_lane, LAST), other=0.0).to(tl.float32)
        sums += value * value if SQUARES else power(tl.abs(value), norm)
    root = tl.sqrt(sums) if SQUARES else power(sums, 1 / norm)
    mask = both(exists, in_lane, LAST)
    out = dense(at, lane, positions, lanes, LAST)
    tl.store(y + out, root.to(y.dtype.element_ty), mask=mask)


@jit
def backward_kernel(
    dy, x, y, dx, norm, y_height, y_width, g_n, g_c, g_h, g_w, x_n, x_c, x_h, x_w,
    y_n, y_c, y_h, y_w,
    positions, lanes, channels, height, width, LAST: tl.constexpr, BP: tl.constexpr,
    BL: tl.constexpr, G: tl.constexpr, STEPS: tl.constexpr, UNROLL: tl.constexpr,
    SQUARES: tl.constexpr,
):  # fmt: skip
    at, lane, exists, in_lane = block(positions, lanes, BP, BL)
    n, row, column = split(at, height, width)
    g_image = of(n * g_n, lane_offset(lane, channels, g_n, g_c, LAST), LAST)
    y_image = of(n * y_n, lane_offset(lane, channels, y_n, y_c, LAST), LAST)
    sums = tl.zeros(y_image.shape, tl.float32)
    for step in tl.range(0, STEPS[0] * STEPS[1], loop_unroll_factor=UNROLL):
        p, q, _, seen = back(step, row, column, y_height, y_width, exists, G, STEPS)
        window = both(seen, in_lane, LAST)
        at_g = g_image + of(p * g_h + q * g_w, lane * 0, LAST)
        at_y = y_image + of(p * y_h + q * y_w, lane * 0, LAST)
        share = tl.load(dy + at_g, mask=window, other=0.0).to(tl.float32)
        root = tl.load(y + at_y, mask=window, other=0.0).to(tl.float32)
        if SQUARES:
            sums += tl.where(root == 0, 0.0, share / tl.where(root == 0, 1.0, root))
        else:
            sums += share * power(root, 1 - norm)
    mask = both(exists, in_lane, LAST)
    image = lane_offset(lane, channels, x_n, x_c, LAST)
    pixel = of(n * x_n + row * x_h + column * x_w, image, LAST)
    value = tl.load(x + pixel, mask=mask, other=0.0).to(tl.float32)
    sign = tl.where(value < 0, -1.0, 1.0)
    slope = value if SQUARES else sign * power(tl.abs(value), norm - 1)
    out = dense(at, lane, positions, lanes, LAST)
    tl.store(dx + out, (slope * sums).to(dx.dtype.element_ty), mask=mask)


def lp_pool2d(
    x: Tensor, p: float, geometry: Geometry, output_size: Pair, channels_last: bool, y: Tensor
) -> None:
    arguments = x, y, float(p), *x.shape[2:], *x.stride()
    constants = windows.forward(geometry, x, y)
    windows.launch(lp_pool2d_kernel, y, channels_last, *arguments, SQUARES=p == 2, **constants)


def backward(
    dy: Tensor, x: Tensor, y: Tensor, p: float, geometry: Geometry, channels_last: bool, dx: Tensor
) -> None:
    strides = *dy.stride(), *x.stride(), *y.stride()
    arguments = dy, x, y, dx, float(p), *y.shape[2:], *strides
    constants = windows.backward(geometry)
    windows.launch(backward_kernel, dx, channels_last, *arguments, SQUARES=p == 2, **constants)


LP_POOL2D = Kernel("triton", lp_pool2d, windows.why_not)
LP_POOL2D_BACKWARD = Kernel("triton", backward, windows.why_not)
