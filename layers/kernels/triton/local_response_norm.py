"""Local response normalisation on a GPU: neighbours across channels are loaded once more each.

A program computes a block of channels by pixels.  It loads the block once for each channel of the
window, shifted; only the first of these loads goes to memory, the others find their values in the
cache of the multiprocessor:

    channel  0  1  2  3  4  5 ...           a window of three
            [=========]                     x[c-1]^2
               [=========]                + x[c  ]^2
                  [=========]             + x[c+1]^2   ->   s[c]

The backward pass needs s at the neighbours as well.  It computes it anew from wider shifts, 2 size -
1 in all: that is faster than to write s in the forward pass and to read it here.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...ops.registry import Kernel
from . import runtime
from .channels import as_pixels, channels_are_adjacent, over_channels, over_pixels, pixel_offset
from .runtime import jit, tl
from .windows import power_of_2

BLOCK = 1024  # values of a program
MAX_CHANNELS = {True: 128, False: 32}  # of a block: of adjacent channels, and of others
MAX_SIZE = 16  # loops over the window are unrolled


@jit
def block(count, channels, LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr):
    """The pixels and channels of a program; its neighbours have the other channels."""
    columns = tl.cdiv(channels, BC)
    number = tl.program_id(0)
    at = number // columns * BP + tl.arange(0, BP)
    return at, number % columns * BC + tl.arange(0, BC), over_pixels(at < count, LAST)


@jit
def load(x, pixel, exists, c, x_c, channels, LAST: tl.constexpr):
    """The block at channels c, those that do not exist being zero."""
    mask = exists & over_channels((c >= 0) & (c < channels), LAST)
    value = tl.load(x + (pixel + over_channels(c * x_c, LAST)), mask=mask, other=0.0)
    return value.to(tl.float32)


@jit
def response_scale(
    x, pixel, exists, c, x_c, channels, alpha, k, LAST: tl.constexpr, BEFORE: tl.constexpr,
    AFTER: tl.constexpr,
):  # fmt: skip
    """s[c] = k + alpha * (x[c - BEFORE]^2 + ... + x[c + AFTER]^2)."""
    value = load(x, pixel, exists, c - BEFORE, x_c, channels, LAST)
    squares = value * value
    for t in tl.static_range(1 - BEFORE, AFTER + 1):
        value = load(x, pixel, exists, c + t, x_c, channels, LAST)
        squares += value * value
    return k + alpha * squares


@jit
def damping(s, beta, THREE_QUARTERS: tl.constexpr):
    """s^-beta; by two square roots for the 3/4 of all networks, as the GPU has few logarithms."""
    if THREE_QUARTERS:
        root = tl.rsqrt(s)
        return root * tl.sqrt(root)
    else:
        return tl.exp2(-beta * tl.log2(s))


@jit
def forward_kernel(
    x, y, x_n, x_c, x_p, y_n, y_c, y_p, alpha, beta, k, count, channels, pixels,
    LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr, BEFORE: tl.constexpr,
    AFTER: tl.constexpr, THREE_QUARTERS: tl.constexpr,
):  # fmt: skip
    at, c, exists = block(count, channels, LAST, BP, BC)
    pixel = over_pixels(pixel_offset(at, pixels, x_n, x_p), LAST)
    s = response_scale(x, pixel, exists, c, x_c, channels, alpha, k, LAST, BEFORE, AFTER)
    value = load(x, pixel, exists, c, x_c, channels, LAST) * damping(s, beta, THREE_QUARTERS)
    out = over_pixels(pixel_offset(at, pixels, y_n, y_p), LAST) + over_channels(c * y_c, LAST)
    mask = exists & over_channels(c < channels, LAST)
    tl.store(y + out, value.to(y.dtype.element_ty), mask=mask)


@jit
def backward_kernel(
    dy, x, dx, dy_n, dy_c, dy_p, x_n, x_c, x_p, dx_n, dx_c, dx_p, alpha, beta, k,
    count, channels, pixels, LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
    BEFORE: tl.constexpr, AFTER: tl.constexpr, THREE_QUARTERS: tl.constexpr,
):  # fmt: skip
    """The channels that have c near are c - AFTER .. c + BEFORE: the window, transposed."""
    at, c, exists = block(count, channels, LAST, BP, BC)
    x_pixel = over_pixels(pixel_offset(at, pixels, x_n, x_p), LAST)
    dy_pixel = over_pixels(pixel_offset(at, pixels, dy_n, dy_p), LAST)
    out = over_pixels(pixel_offset(at, pixels, dx_n, dx_p), LAST) + over_channels(c * dx_c, LAST)
    shared = tl.zeros(out.shape, tl.float32)
    direct = tl.zeros(out.shape, tl.float32)
    for t in tl.static_range(-AFTER, BEFORE + 1):
        s = response_scale(
            x, x_pixel, exists, c + t, x_c, channels, alpha, k, LAST, BEFORE, AFTER
        )  # fmt: skip
        near = load(x, x_pixel, exists, c + t, x_c, channels, LAST)
        damped = load(dy, dy_pixel, exists, c + t, dy_c, channels, LAST)
        damped *= damping(s, beta, THREE_QUARTERS)
        shared += damped * near / s
        if t == 0:
            direct = damped
    value = direct - 2 * alpha * beta * load(x, x_pixel, exists, c, x_c, channels, LAST) * shared
    mask = exists & over_channels(c < channels, LAST)
    tl.store(dx + out, value.to(dx.dtype.element_ty), mask=mask)


def local_response_norm(
    x: Tensor, size: int, alpha: float, beta: float, k: float, y: Tensor
) -> None:
    _launch(forward_kernel, (x,), size, alpha, beta, k, y)


def backward(
    dy: Tensor, x: Tensor, size: int, alpha: float, beta: float, k: float, dx: Tensor
) -> None:
    _launch(backward_kernel, (dy, x), size, alpha, beta, k, dx)


def _launch(
    kernel: Any,
    inputs: tuple[Tensor, ...],
    size: int,
    alpha: float,
    beta: float,
    k: float,
    output: Tensor,
) -> None:
    """A program for each block of the output."""
    if not output.numel():
        return
    *images, result = map(as_pixels, (*inputs, output))
    n, channels, pixels = result.shape
    last = channels_are_adjacent(result)
    in_channels = min(MAX_CHANNELS[last], power_of_2(channels))
    in_pixels = BLOCK // in_channels
    programs = -(-n * pixels // in_pixels) * -(-channels // in_channels)
    strides = [stride for each in (*images, result) for stride in each.stride()]
    runtime.launch(
        kernel, programs, *images, result, *strides, alpha, beta, k, n * pixels, channels, pixels,
        LAST=last, BP=in_pixels, BC=in_channels, BEFORE=size // 2, AFTER=(size - 1) // 2,
        THREE_QUARTERS=beta == 0.75, num_warps=8,
    )  # fmt: skip
    if result.data_ptr() != output.data_ptr():  # an output with the strides of a strange input
        output.copy_(result.view_as(output))


def _supports(like: Tensor, *others: Any) -> str | None:
    size = next(value for value in others if isinstance(value, int))
    if size > MAX_SIZE:
        return f"it is for windows of at most {MAX_SIZE} channels"
    return runtime.why_not_triton(like, *(t for t in others if isinstance(t, Tensor)))


LOCAL_RESPONSE_NORM = Kernel("triton", local_response_norm, _supports)
LOCAL_RESPONSE_NORM_BACKWARD = Kernel("triton", backward, _supports)
