"""Sums over windows and their adjoint, on a GPU: average pooling and its gradient.

    y[n,c,p] = sum over the taps k of  x[n,c, S p + D k - P]          a window adds up its pixels
    x[n,c,r] = sum over the windows p that see pixel r of  y[n,c,p]   a pixel adds up its windows

Both read images and write images and gather what they add up, so one kernel is for both: BACK says
which way it looks (windows.py).
"""

from __future__ import annotations

from torch import Tensor

from ...ops.geometry import Geometry, Pair
from ...ops.registry import Kernel
from . import windows
from .runtime import jit, tl
from .windows import back, block, both, dense, lane_offset, of, split, through


@jit
def sum_kernel(
    x, y, x_height, x_width, x_n, x_c, x_h, x_w,
    positions, lanes, channels, height, width, LAST: tl.constexpr, BP: tl.constexpr,
    BL: tl.constexpr, G: tl.constexpr, WHOLE: tl.constexpr, STEPS: tl.constexpr,
    UNROLL: tl.constexpr, BACK: tl.constexpr,
):  # fmt: skip
    at, lane, exists, in_lane = block(positions, lanes, BP, BL)
    n, p, q = split(at, height, width)
    image = of(n * x_n, lane_offset(lane, channels, x_n, x_c, LAST), LAST)
    sums = tl.zeros(image.shape, tl.float32)
    for step in tl.range(0, STEPS[0] * STEPS[1], loop_unroll_factor=UNROLL):
        if BACK:
            row, column, _, seen = back(step, p, q, x_height, x_width, exists, G, STEPS)
        else:
            row, column, seen = through(step, p, q, x_height, x_width, exists, G, WHOLE)
        pixel = image + of(row * x_h + column * x_w, lane * 0, LAST)
        sums += tl.load(x + pixel, mask=both(seen, in_lane, LAST), other=0.0).to(tl.float32)
    mask = both(exists, in_lane, LAST)
    out = dense(at, lane, positions, lanes, LAST)
    tl.store(y + out, sums.to(y.dtype.element_ty), mask=mask)


def window_sum(
    x: Tensor, geometry: Geometry, output_size: Pair, channels_last: bool, y: Tensor
) -> None:
    arguments = x, y, *x.shape[2:], *x.stride()
    constants = windows.forward(geometry, x, y)
    windows.launch(sum_kernel, y, channels_last, *arguments, BACK=False, **constants)


def window_sum_backward(
    y: Tensor, geometry: Geometry, image_size: Pair, channels_last: bool, x: Tensor
) -> None:
    arguments = y, x, *y.shape[2:], *y.stride()
    constants = windows.backward(geometry)
    windows.launch(sum_kernel, x, channels_last, *arguments, BACK=True, WHOLE=False, **constants)


WINDOW_SUM = Kernel("triton", window_sum, windows.why_not)
WINDOW_SUM_BACKWARD = Kernel("triton", window_sum_backward, windows.why_not)
