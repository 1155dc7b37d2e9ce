"""Blocks of images, as windows see them: what the pooling kernels share.

A program computes a block of outputs, positions by lanes, in the order of their memory:

    channels last   positions (n, p, q),  lanes c         the channels of a pixel are adjacent
    contiguous      positions (p, q),     lanes (n, c)    the pixels of a row are

Where a window lies depends on the position alone, so that is worked out once for all its lanes.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...ops.geometry import Geometry
from . import runtime
from .runtime import jit, tl

BLOCK_CHANNELS_LAST, BLOCK_CONTIGUOUS = 1024, 512  # outputs of a program
MAX_LANES = 128


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


def launch(kernel: Any, output: Tensor, channels_last: bool, *arguments: Any, **constants: Any):
    """A program for each block of an output (N, C, H, W), dense in its format.

    The kernel takes (positions, lanes, channels, height, width), the last two of the output, then
    the arguments and the constants, LAST, BP and BL among them.
    """
    n, channels, height, width = output.shape
    if not output.numel():
        return
    if channels_last:
        positions, lanes = n * height * width, channels
        in_lanes = min(MAX_LANES, power_of_2(lanes))
        in_positions = BLOCK_CHANNELS_LAST // in_lanes
    else:
        positions, lanes = height * width, n * channels
        in_positions = min(BLOCK_CONTIGUOUS, power_of_2(positions))
        in_lanes = BLOCK_CONTIGUOUS // in_positions
    programs = -(-positions // in_positions) * -(-lanes // in_lanes)
    runtime.launch(
        kernel, programs, *arguments, positions, lanes, channels, height, width,
        LAST=channels_last, BP=in_positions, BL=in_lanes, **constants,
    )  # fmt: skip


def constants(geometry: Geometry) -> dict[str, int]:
    """KH, KW, SH, ...: what a kernel is compiled for."""
    pairs = zip("KSPD", geometry[:4], strict=True)
    return {
        f"{letter}{axis}": n for letter, pair in pairs for axis, n in zip("HW", pair, strict=True)
    }


def power_of_2(number: int) -> int:
    """The next one."""
    return 1 << (number - 1).bit_length()
