"""Blocks of images, as windows see them: what the pooling kernels share.

A program computes a block of outputs, positions by lanes, in the order of their memory:

    channels last   positions (n, p, q),  lanes c         the channels of a pixel are adjacent
    contiguous      positions (p, q),     lanes (n, c)    the pixels of a row are

Where a window lies depends on the position alone, so that is worked out once for all its lanes.

There are two ways to look, each a loop with the same steps for every output:

    through   from a window at its pixels, tap by tap
                  row = S p - P + D i
    back      from a pixel at the windows that see it, and so a gradient is a sum like any other:
                  p = (row + P) // S - u,   u = 0, 1, ...  below  ceil((D (K-1) + 1) / S)
              each through the tap
                  i = (row + P - S p) / D,  if that is a whole number below K

Few steps are unrolled into straight code; of more, as many as are under way at a time.
"""

from __future__ import annotations

from math import prod
from typing import Any

from torch import Tensor

from ...ops.geometry import Geometry
from . import runtime
from .runtime import cdiv, jit, power_of_2, tl

MAX_LANES, MIN_BLOCK = 128, 32
BYTES_CHANNELS_LAST, BLOCK_CONTIGUOUS = 2048, 512  # outputs of a program
IDLE = 1.1  # up to which a block may hang over
MAX_UNROLLED, UNROLLED = 25, 8  # steps: all up to a window of 5 x 5, then so many at a time


@jit
def block(positions, lanes, BP: tl.constexpr, BL: tl.constexpr):
    """The positions and the lanes of a program, and which of them exist."""
    columns = tl.cdiv(lanes, BL)
    number = tl.program_id(0)
    at = number // columns * BP + tl.arange(0, BP)
    lane = number % columns * BL + tl.arange(0, BL)
    return at, lane, at < positions, lane < lanes


@jit
def split(at, height, width):
    """(n, row, column) of positions; n is 0 where it is in the lanes."""
    rows = at // width
    return rows // height, rows % height, at % width


@jit
def lane_offset(lane, channels, s_n, s_c, LAST: tl.constexpr):
    return lane * s_c if LAST else lane // channels * s_n + lane % channels * s_c


@jit
def of(position, lane, LAST: tl.constexpr):
    """position + lane of every value of the block."""
    return position[:, None] + lane[None, :] if LAST else lane[:, None] + position[None, :]


@jit
def both(position, lane, LAST: tl.constexpr):
    """position and lane: whether a value of the block exists."""
    return position[:, None] & lane[None, :] if LAST else lane[:, None] & position[None, :]


@jit
def dense(at, lane, positions, lanes, LAST: tl.constexpr):
    """Where an output of the block lies."""
    return of(at * lanes, lane, LAST) if LAST else of(at, lane * positions, LAST)


@jit
def through(tap, p, q, height, width, exists, G: tl.constexpr, WHOLE: tl.constexpr):
    """The pixel that the windows (p, q) see through a tap: row, column, and whether there is one.

    G: the geometry.  WHOLE: no window hangs over the border.
    """
    row = p * G.stride[0] - G.padding[0] + tap // G.kernel_size[1] * G.dilation[0]
    column = q * G.stride[1] - G.padding[1] + tap % G.kernel_size[1] * G.dilation[1]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return row, column, exists if WHOLE else exists & inside


@jit
def back(step, row, column, height, width, exists, G: tl.constexpr, STEPS: tl.constexpr):
    """A window that may see the pixels (row, column): p, q, by which tap, and whether it does."""
    down, p, by_row = _back(step // STEPS[1], row + G.padding[0], height, G, 0)
    along, q, by_column = _back(step % STEPS[1], column + G.padding[1], width, G, 1)
    return p, q, down * G.kernel_size[1] + along, exists & by_row & by_column


@jit
def _back(step, at, windows, G: tl.constexpr, AXIS: tl.constexpr):
    window = at // G.stride[AXIS] - step
    tap = (at - window * G.stride[AXIS]) // G.dilation[AXIS]
    on_tap = window * G.stride[AXIS] + tap * G.dilation[AXIS] == at
    return tap, window, on_tap & (tap < G.kernel_size[AXIS]) & (window >= 0) & (window < windows)


def forward(geometry: Geometry, image: Tensor, windows: Tensor) -> dict[str, Any]:
    """The constants of a kernel that looks through windows: G, WHOLE, STEPS and UNROLL."""
    axes = zip(image.shape[2:], windows.shape[2:], *geometry[:2], geometry.span, strict=True)
    whole = geometry.padding == (0, 0) and all(
        (windows - 1) * stride + span <= length for length, windows, _, stride, span in axes
    )
    return {"G": geometry, "WHOLE": whole, **_steps(*geometry.kernel_size)}


def backward(geometry: Geometry) -> dict[str, Any]:
    """And of one that looks back: G, STEPS and UNROLL."""
    pairs = zip(geometry.span, geometry.stride, strict=True)
    return {"G": geometry, **_steps(*(cdiv(span, stride) for span, stride in pairs))}


def _steps(rows: int, columns: int) -> dict[str, Any]:
    count = rows * columns
    return {"STEPS": (rows, columns), "UNROLL": count if count <= MAX_UNROLLED else UNROLLED}


def launch(kernel: Any, output: Tensor, channels_last: bool, *arguments: Any, **constants: Any):
    """A program for each block of an output (N, C, H, W), dense in its format.

    The kernel takes the arguments, then (positions, lanes, channels, height, width), the last two
    of the output, and the constants, LAST, BP and BL among them.
    """
    n, channels, height, width = output.shape
    if not output.numel():
        return
    if channels_last:
        positions, lanes = n * height * width, channels
        in_lanes = fitting(lanes, MAX_LANES)
        in_positions = BYTES_CHANNELS_LAST // output.element_size() // in_lanes
    else:
        positions, lanes = height * width, n * channels
        in_positions = fitting(positions, BLOCK_CONTIGUOUS)
        in_lanes = BLOCK_CONTIGUOUS // in_positions
    programs = cdiv(positions, in_positions) * cdiv(lanes, in_lanes)
    runtime.launch(
        kernel, programs, *arguments, positions, lanes, channels, height, width,
        LAST=channels_last, BP=in_positions, BL=in_lanes, **constants,
    )  # fmt: skip


def fitting(length: int, most: int) -> int:
    """The largest block, a power of 2, few of whose places lie beyond the length."""

    def covered(size: int) -> int:
        return cdiv(length, size) * size

    largest = min(most, power_of_2(length))
    sizes = [largest]
    while sizes[-1] > MIN_BLOCK:
        sizes.append(sizes[-1] // 2)
    few_idle = (size for size in sizes if covered(size) <= IDLE * length)
    return next(few_idle, min(sizes, key=covered))


def why_not(images: Tensor, *others: Any) -> str | None:
    """None, or why a pooling operator is not computed here, given its inputs."""
    size = others[-2]  # of the output, where it is not that of an input
    numel = prod((*images.shape[:2], *size)) if len(size) == 2 else 0
    return runtime.why_not_triton(
        images, *(t for t in others if isinstance(t, Tensor)), numel=numel
    )
