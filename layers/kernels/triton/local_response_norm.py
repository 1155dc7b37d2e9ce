"""Local response normalisation on a GPU: neighbours across channels are loaded once more each.

A program computes a block of channels by pixels.  It loads the block once for each channel of the
window, shifted; only the first of these loads goes to memory, the others find their values in the
cache of the multiprocessor:

    channel  0  1  2  3  4  5 ...           a window of three
            [=========]                     x[c-1]^2
               [=========]                + x[c  ]^2
                  [=========]             + x[c+1]^2   ->   s[c]

The backward pass needs s at the neighbours as well.  It computes it anew, from 2 size - 1 shifts:
memory is what there is too little of, and to write s forward and read it here would take more.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...ops.registry import Kernel
from ..layout import is_dense
from . import runtime
from .channels import Blocks, as_pixels, both, channels_of, offset, pixels_of
from .runtime import jit, tl

BLOCK = dict(size=1024, adjacent=128, apart=32, warps=8)
MAX_SIZE = 9  # loops over the window are unrolled


@jit
def load(x, n, c, p, x_n, x_c, x_p, channels, pixels, LAST: tl.constexpr, SHIFT: tl.constexpr):
    """The block at channels c + SHIFT, those that do not exist being zero.

    The same block may be asked for several times: the compiler loads it once.
    """
    near = c + SHIFT
    mask = both((near >= 0) & (near < channels), p < pixels, LAST)
    place = offset(n, near, p, x_n, x_c, x_p, LAST)
    return tl.load(x + place, mask=mask, other=0.0).to(tl.float32)


@jit
def response_scale(
    x, n, c, p, x_n, x_c, x_p, channels, pixels, alpha, k, LAST: tl.constexpr,
    SHIFT: tl.constexpr, BEFORE: tl.constexpr, AFTER: tl.constexpr,
):  # fmt: skip
    """s of channels c + SHIFT."""
    value = load(x, n, c, p, x_n, x_c, x_p, channels, pixels, LAST, SHIFT - BEFORE)
    squares = value * value
    for t in tl.static_range(SHIFT - BEFORE + 1, SHIFT + AFTER + 1):
        value = load(x, n, c, p, x_n, x_c, x_p, channels, pixels, LAST, t)
        squares += value * value
    return k + alpha * squares


@jit
def damping(s, beta, THREE_QUARTERS: tl.constexpr):
    """s^-beta and 1/s; two square roots are cheap, and all networks have a beta of 3/4."""
    if THREE_QUARTERS:
        root = tl.rsqrt(s)
        return root * tl.sqrt(root), root * root
    else:
        return tl.exp2(-beta * tl.log2(s)), 1.0 / s


@jit
def forward_kernel(
    x, y, alpha, beta, k, x_n, x_c, x_p, y_n, y_c, y_p, per_image, channels, pixels,
    LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr, BEFORE: tl.constexpr,
    AFTER: tl.constexpr, THREE_QUARTERS: tl.constexpr,
):  # fmt: skip
    c = channels_of(tl.program_id(0), channels, BC)
    n, p = pixels_of(tl.program_id(0) // tl.cdiv(channels, BC), per_image, BP)
    s = response_scale(
        x, n, c, p, x_n, x_c, x_p, channels, pixels, alpha, k, LAST, 0, BEFORE, AFTER
    )  # fmt: skip
    damped, _ = damping(s, beta, THREE_QUARTERS)
    damped *= load(x, n, c, p, x_n, x_c, x_p, channels, pixels, LAST, 0)
    mask = both(c < channels, p < pixels, LAST)
    out = offset(n, c, p, y_n, y_c, y_p, LAST)
    tl.store(y + out, damped.to(y.dtype.element_ty), mask=mask)


@jit
def backward_kernel(
    dy, x, dx, alpha, beta, k, dy_n, dy_c, dy_p, x_n, x_c, x_p, dx_n, dx_c, dx_p,
    per_image, channels, pixels, LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
    BEFORE: tl.constexpr, AFTER: tl.constexpr, THREE_QUARTERS: tl.constexpr,
):  # fmt: skip
    """The channels that have c near are c - AFTER .. c + BEFORE: the window, transposed."""
    c = channels_of(tl.program_id(0), channels, BC)
    n, p = pixels_of(tl.program_id(0) // tl.cdiv(channels, BC), per_image, BP)
    out = offset(n, c, p, dx_n, dx_c, dx_p, LAST)
    shared = tl.zeros(out.shape, tl.float32)
    direct = tl.zeros(out.shape, tl.float32)
    for t in tl.static_range(-AFTER, BEFORE + 1):
        s = response_scale(
            x, n, c, p, x_n, x_c, x_p, channels, pixels, alpha, k, LAST, t, BEFORE, AFTER
        )  # fmt: skip
        damped, reciprocal = damping(s, beta, THREE_QUARTERS)
        damped *= load(dy, n, c, p, dy_n, dy_c, dy_p, channels, pixels, LAST, t)
        near = load(x, n, c, p, x_n, x_c, x_p, channels, pixels, LAST, t)
        shared += damped * near * reciprocal
        if t == 0:
            direct = damped
    centre = load(x, n, c, p, x_n, x_c, x_p, channels, pixels, LAST, 0)
    value = direct - 2 * alpha * beta * centre * shared
    mask = both(c < channels, p < pixels, LAST)
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
    if not output.numel():
        return
    in_place = is_dense(output)  # else an input's strange strides are its strides, too
    result = as_pixels(output) if in_place else as_pixels(output.new_empty(output.shape))
    blocks = Blocks(*inputs, result, **BLOCK)
    blocks.launch(
        kernel, blocks.number, alpha, beta, k, BEFORE=size // 2, AFTER=(size - 1) // 2,
        THREE_QUARTERS=beta == 0.75,
    )  # fmt: skip
    if not in_place:
        output.copy_(result.view_as(output))


def _supports(like: Tensor, *others: Any) -> str | None:
    size = next(value for value in others if isinstance(value, int))
    if size > MAX_SIZE:
        return f"it is for windows of at most {MAX_SIZE} channels"
    return runtime.why_not_triton(like, *(t for t in others if isinstance(t, Tensor)))


LOCAL_RESPONSE_NORM = Kernel("triton", local_response_norm, _supports)
LOCAL_RESPONSE_NORM_BACKWARD = Kernel("triton", backward, _supports)
