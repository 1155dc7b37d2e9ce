"""Max-pooling, and both ways through its switches, on a GPU.

The backward pass is a gather, as the forward one: each pixel asks the windows that see it whether
their switch points at it, and adds up those that do.  So no two programs write to one place; there
are no atomics, and the sum is the same at every run.

    windows that see row h:   p = (h + P) // S - u,   u = 0, 1, ...  below  ceil((D (K-1) + 1) / S)
    and through which tap:    i = (h + P - S p) / D,  if that is a whole number below K
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...ops.geometry import Geometry, Pair
from ...ops.registry import Kernel
from . import runtime, windows
from .runtime import jit, tl
from .windows import block, both, dense, lane_offset, of, split


@jit
def max_pool2d_kernel(
    x, y, switches, x_height, x_width, x_n, x_c, x_h, x_w,
    positions, lanes, channels, height, width, LAST: tl.constexpr, BP: tl.constexpr,
    BL: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
):  # fmt: skip
    """The first maximum wins, and NaN beats every number."""
    at, lane, exists, in_lane = block(positions, lanes, BP, BL)
    n, p, q = split(at, height, width)
    image = lane_offset(lane, channels, x_n, x_c, LAST)
    out = dense(at, lane, positions, lanes, LAST)
    best = tl.full(out.shape, float("-inf"), tl.float32)
    switch = tl.full(out.shape, -1, tl.int32)  # no tap yet: the first one that exists wins
    for i in tl.static_range(KH):
        for j in tl.static_range(KW):
            row, column = p * SH - PH + i * DH, q * SW - PW + j * DW
            seen = exists & (row >= 0) & (row < x_height) & (column >= 0) & (column < x_width)
            mask = both(seen, in_lane, LAST)
            pixel = of(n * x_n + row * x_h + column * x_w, image, LAST)
            value = tl.load(x + pixel, mask=mask, other=float("-inf")).to(tl.float32)
            wins = mask & ((value > best) | (value != value) | (switch < 0))
            best = tl.where(wins, value, best)
            switch = tl.where(wins, i * KW + j, switch)
    mask = both(exists, in_lane, LAST)
    tl.store(y + out, best.to(y.dtype.element_ty), mask=mask)
    tl.store(switches + out, tl.maximum(switch, 0).to(switches.dtype.element_ty), mask=mask)


@jit
def gather_kernel(
    x, switches, y, x_height, x_width, x_n, x_c, x_h, x_w, s_n, s_c, s_h, s_w,
    positions, lanes, channels, height, width, LAST: tl.constexpr, BP: tl.constexpr,
    BL: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
):  # fmt: skip
    at, lane, exists, in_lane = block(positions, lanes, BP, BL)
    n, p, q = split(at, height, width)
    mask = both(exists, in_lane, LAST)
    window = of(n * s_n + p * s_h + q * s_w, lane_offset(lane, channels, s_n, s_c, LAST), LAST)
    tap = tl.load(switches + window, mask=mask, other=0).to(tl.int32)
    nothing = lane * 0
    row = of(p * SH - PH, nothing, LAST) + tap // KW * DH
    column = of(q * SW - PW, nothing, LAST) + tap % KW * DW
    seen = mask & (row >= 0) & (row < x_height) & (column >= 0) & (column < x_width)
    image = of(n * x_n, lane_offset(lane, channels, x_n, x_c, LAST), LAST)
    value = tl.load(x + image + row * x_h + column * x_w, mask=seen, other=0.0)
    tl.store(y + dense(at, lane, positions, lanes, LAST), value, mask=mask)


@jit
def backward_kernel(
    y, switches, x, y_height, y_width, y_n, y_c, y_h, y_w, s_n, s_c, s_h, s_w,
    positions, lanes, channels, height, width, LAST: tl.constexpr, BP: tl.constexpr,
    BL: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, SH: tl.constexpr, SW: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, DH: tl.constexpr, DW: tl.constexpr,
):  # fmt: skip
    at, lane, exists, in_lane = block(positions, lanes, BP, BL)
    n, row, column = split(at, height, width)
    out = dense(at, lane, positions, lanes, LAST)
    y_image = lane_offset(lane, channels, y_n, y_c, LAST)
    s_image = lane_offset(lane, channels, s_n, s_c, LAST)
    sums = tl.zeros(out.shape, tl.float32)
    for u in tl.static_range((DH * (KH - 1) + SH) // SH):
        p = (row + PH) // SH - u
        down = row + PH - p * SH  # pixels below the window's first
        above = exists & (p >= 0) & (p < y_height) & (down <= DH * (KH - 1)) & (down % DH == 0)
        for v in tl.static_range((DW * (KW - 1) + SW) // SW):
            q = (column + PW) // SW - v
            along = column + PW - q * SW
            seen = above & (q >= 0) & (q < y_width) & (along <= DW * (KW - 1)) & (along % DW == 0)
            mask = both(seen, in_lane, LAST)
            window = of(n * s_n + p * s_h + q * s_w, s_image, LAST)
            switch = tl.load(switches + window, mask=mask, other=0).to(tl.int32)
            won = switch == of(down // DH * KW + along // DW, lane * 0, LAST)
            window = of(n * y_n + p * y_h + q * y_w, y_image, LAST)
            value = tl.load(y + window, mask=mask, other=0.0).to(tl.float32)
            sums += tl.where(won, value, 0.0)
    tl.store(x + out, sums.to(x.dtype.element_ty), mask=both(exists, in_lane, LAST))


def max_pool2d(
    x: Tensor,
    geometry: Geometry,
    output_size: Pair,
    channels_last: bool,
    y: Tensor,
    switches: Tensor,
) -> None:
    arguments = x, y, switches, *x.shape[2:], *x.stride()
    windows.launch(max_pool2d_kernel, y, channels_last, *arguments, **windows.constants(geometry))


def gather(
    x: Tensor,
    switches: Tensor,
    geometry: Geometry,
    output_size: Pair,
    channels_last: bool,
    y: Tensor,
) -> None:
    arguments = x, switches, y, *x.shape[2:], *x.stride(), *switches.stride()
    windows.launch(gather_kernel, y, channels_last, *arguments, **windows.constants(geometry))


def backward(
    y: Tensor,
    switches: Tensor,
    geometry: Geometry,
    image_size: Pair,
    channels_last: bool,
    x: Tensor,
) -> None:
    arguments = y, switches, x, *y.shape[2:], *y.stride(), *switches.stride()
    windows.launch(backward_kernel, x, channels_last, *arguments, **windows.constants(geometry))


def _supports(x: Tensor, *others: Any) -> str | None:
    return runtime.why_not_triton(x, *(t for t in others if isinstance(t, Tensor)))


MAX_POOL2D = Kernel("triton", max_pool2d, _supports)
MAX_POOL2D_GATHER = Kernel("triton", gather, _supports)
MAX_POOL2D_BACKWARD = Kernel("triton", backward, _supports)
