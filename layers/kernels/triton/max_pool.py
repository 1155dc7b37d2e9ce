"""Max-pooling, and both ways through its switches, on a GPU.

The backward pass is a gather, as the forward one: each pixel asks the windows that see it whether
their switch points at it, and adds up those that do (windows.py says which may).  So no two
programs write to one place; there are no atomics, and the sum is the same at every run.
"""

from __future__ import annotations

from math import inf

from torch import Tensor

from ...ops.geometry import Geometry, Pair
from ...ops.registry import Kernel
from . import windows
from .runtime import jit, tl
from .windows import back, block, both, dense, lane_offset, of, split, through


@jit
def max_pool2d_kernel(
    x, y, switches, lowest, x_height, x_width, x_n, x_c, x_h, x_w,
    positions, lanes, channels, height, width, LAST: tl.constexpr, BP: tl.constexpr,
    BL: tl.constexpr, G: tl.constexpr, WHOLE: tl.constexpr, STEPS: tl.constexpr,
    UNROLL: tl.constexpr,
):  # fmt: skip
    """The first maximum wins, and NaN beats every number.

    lowest: -inf, as an argument: were it known, the compiler would compare float16 and bfloat16
    as they are, which takes a quarter more instructions for a window of 3 x 3.
    """
    at, lane, exists, in_lane = block(positions, lanes, BP, BL)
    n, p, q = split(at, height, width)
    image = of(n * x_n, lane_offset(lane, channels, x_n, x_c, LAST), LAST)
    best = tl.zeros(image.shape, tl.float32) + lowest
    switch = of(first_tap(p, q, x_height, x_width, G), lane * 0, LAST)
    for tap in tl.range(0, STEPS[0] * STEPS[1], loop_unroll_factor=UNROLL):
        row, column, seen = through(tap, p, q, x_height, x_width, exists, G, WHOLE)
        pixel = image + of(row * x_h + column * x_w, lane * 0, LAST)
        mask = both(seen, in_lane, LAST)
        value = tl.load(x + pixel, mask=mask, other=float("-inf")).to(tl.float32)
        wins = (value > best) | (value != value)
        best = tl.where(wins, value, best)
        switch = tl.where(wins, tap, switch)
    out, mask = dense(at, lane, positions, lanes, LAST), both(exists, in_lane, LAST)
    tl.store(y + out, best.to(y.dtype.element_ty), mask=mask)
    tl.store(switches + out, switch.to(switches.dtype.element_ty), mask=mask)


@jit
def first_tap(p, q, height, width, G: tl.constexpr):
    """The first tap with a pixel in the image, which -inf everywhere leaves the winner."""
    i = tl.maximum(G.padding[0] - p * G.stride[0] + G.dilation[0] - 1, 0) // G.dilation[0]
    j = tl.maximum(G.padding[1] - q * G.stride[1] + G.dilation[1] - 1, 0) // G.dilation[1]
    tap = i * G.kernel_size[1] + j
    there = (i < G.kernel_size[0]) & (j < G.kernel_size[1])
    _, _, seen = through(tap, p, q, height, width, there, G, False)
    return tl.where(seen, tap, 0)


@jit
def gather_kernel(
    x, switches, y, x_height, x_width, x_n, x_c, x_h, x_w, s_n, s_c, s_h, s_w,
    positions, lanes, channels, height, width, LAST: tl.constexpr, BP: tl.constexpr,
    BL: tl.constexpr, G: tl.constexpr,
):  # fmt: skip
    at, lane, exists, in_lane = block(positions, lanes, BP, BL)
    n, p, q = split(at, height, width)
    mask = both(exists, in_lane, LAST)
    window = of(n * s_n + p * s_h + q * s_w, lane_offset(lane, channels, s_n, s_c, LAST), LAST)
    tap = tl.load(switches + window, mask=mask, other=0).to(tl.int32)
    row, column, seen = through(
        tap, of(p, lane * 0, LAST), of(q, lane * 0, LAST), x_height, x_width, mask, G, False
    )
    image = of(n * x_n, lane_offset(lane, channels, x_n, x_c, LAST), LAST)
    value = tl.load(x + image + row * x_h + column * x_w, mask=seen, other=0.0)
    tl.store(y + dense(at, lane, positions, lanes, LAST), value, mask=mask)


@jit
def backward_kernel(
    y, switches, x, y_height, y_width, y_n, y_c, y_h, y_w, s_n, s_c, s_h, s_w,
    positions, lanes, channels, height, width, LAST: tl.constexpr, BP: tl.constexpr,
    BL: tl.constexpr, G: tl.constexpr, STEPS: tl.constexpr, UNROLL: tl.constexpr,
):  # fmt: skip
    at, lane, exists, in_lane = block(positions, lanes, BP, BL)
    n, row, column = split(at, height, width)
    y_image = of(n * y_n, lane_offset(lane, channels, y_n, y_c, LAST), LAST)
    s_image = of(n * s_n, lane_offset(lane, channels, s_n, s_c, LAST), LAST)
    sums = tl.zeros(y_image.shape, tl.float32)
    for step in tl.range(0, STEPS[0] * STEPS[1], loop_unroll_factor=UNROLL):
        p, q, tap, seen = back(step, row, column, y_height, y_width, exists, G, STEPS)
        mask = both(seen, in_lane, LAST)
        window = s_image + of(p * s_h + q * s_w, lane * 0, LAST)
        switch = tl.load(switches + window, mask=mask, other=0).to(tl.int32)
        window = y_image + of(p * y_h + q * y_w, lane * 0, LAST)
        value = tl.load(y + window, mask=mask, other=0.0).to(tl.float32)
        sums += tl.where(switch == of(tap, lane * 0, LAST), value, 0.0)
    out = dense(at, lane, positions, lanes, LAST)
    tl.store(x + out, sums.to(x.dtype.element_ty), mask=both(exists, in_lane, LAST))


def max_pool2d(
    x: Tensor,
    geometry: Geometry,
    output_size: Pair,
    channels_last: bool,
    y: Tensor,
    switches: Tensor,
) -> None:
    arguments = x, y, switches, -inf, *x.shape[2:], *x.stride()
    windows.launch(
        max_pool2d_kernel, y, channels_last, *arguments, **windows.forward(geometry, x, y)
    )


def gather(
    x: Tensor,
    switches: Tensor,
    geometry: Geometry,
    output_size: Pair,
    channels_last: bool,
    y: Tensor,
) -> None:
    arguments = x, switches, y, *x.shape[2:], *x.stride(), *switches.stride()
    windows.launch(gather_kernel, y, channels_last, *arguments, G=geometry)


def backward(
    y: Tensor,
    switches: Tensor,
    geometry: Geometry,
    image_size: Pair,
    channels_last: bool,
    x: Tensor,
) -> None:
    arguments = y, switches, x, *y.shape[2:], *y.stride(), *switches.stride()
    windows.launch(backward_kernel, x, channels_last, *arguments, **windows.backward(geometry))


MAX_POOL2D = Kernel("triton", max_pool2d, windows.why_not)
MAX_POOL2D_GATHER = Kernel("triton", gather, windows.why_not)
MAX_POOL2D_BACKWARD = Kernel("triton", backward, windows.why_not)
