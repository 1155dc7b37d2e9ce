"""Convolution as one product over columns, channels last, a few images at a time.

    conv2d          Y = W_row @ X_col
    conv2d_input    X_col = W_row^T @ Y, then col2im
    conv2d_weight   W_row = Y @ X_col^T, summed over the images

Letters and the order in memory: im2col.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..ops.dtypes import upcast, upcast_dtype
from ..ops.geometry import Geometry, Pair
from ..ops.registry import Kernel
from .im2col import Im2col, col2im, col2im_by_taps, repeated, scratch_pixels
from .jit import why_not_jit
from .openmp import parallel_map, partition
from .workspace import workspace

MIN_PARALLEL_MULTIPLICATIONS = 1 << 27  # from which it pays to give each thread its own images
MIN_PIXELS = 128  # of a contiguous output, from which a product for each image is fast
MAX_PARALLEL_WEIGHTS = 1 << 20  # up to which it pays: every thread reads all of them


def conv2d(
    x: Tensor, weight: Tensor, geometry: Geometry, channels_last: bool, algorithm: str, y: Tensor
) -> None:
    together = channels_last or is_small(y)
    layout = Im2col(x.shape[2:], x.shape[1], geometry, together)
    w_row = layout.w_row(weight)

    def convolve(images: slice) -> None:
        for chunk, x_col in layout.filled(x[images]):
            part = chunk.of(y[images])
            if not together:
                torch.bmm(repeated(w_row, len(x_col)), x_col, out=layout.y_row(part))
                continue
            pixels = part if channels_last else scratch_pixels(part)
            # Y^T = X_col^T @ W_row^T: in bfloat16 torch.bmm fills rows by a fast kernel,
            # columns by loops thousands of times slower.
            torch.bmm(x_col.mT, w_row.mT, out=layout.y_row(pixels).mT)
            if not channels_last:
                part.copy_(pixels)

    parallel_map(convolve, partition_images(x, weight.numel(), y.shape[2:]), x)


def conv2d_input(
    add_columns: Callable[..., None],
    weight: Tensor,
    g: Tensor,
    geometry: Geometry,
    image_size: Pair,
    channels_last: bool,
    algorithm: str,
    x: Tensor,
) -> None:
    """
    Args:
        add_columns: a way to compute `col2im`.
    """
    layout = Im2col(image_size, x.shape[1], geometry, channels_last or is_small(g))
    w_row = layout.w_row(weight)
    in_place = channels_last and x.dtype == upcast_dtype(x)

    def convolve(images: slice) -> None:
        for chunk, memory in layout.chunks(g[images]):
            part = x[images][chunk.images]
            if chunk.rows.start == 0:
                total = (part if in_place else accumulator(part, channels_last=True)).zero_()
            g_row, x_col = layout.y_row(chunk.of(g[images])), layout.x_col(memory, chunk)
            torch.bmm(g_row.mT, repeated(w_row, len(x_col)), out=x_col.mT)
            add_columns(layout.windows(memory, chunk), total, geometry, chunk.rows.start)
            if not in_place and chunk.rows.stop == g.shape[2]:
                part.copy_(total)

    parallel_map(convolve, partition_images(g, weight.numel(), g.shape[2:]), g)


def conv2d_weight(
    x: Tensor, g: Tensor, geometry: Geometry, channels_last: bool, algorithm: str, weight: Tensor
) -> None:
    layout = Im2col(x.shape[2:], x.shape[1], geometry)

    def correlate(images: slice) -> Tensor:
        w_row = upcast(torch.zeros_like(layout.w_row(weight).mT).mT)  # K is the product's long side
        for chunk, x_col in layout.filled(x[images]):
            g_row = layout.y_row(chunk.of(g[images]))
            if w_row.dtype == g.dtype:
                w_row.baddbmm_(g_row, x_col.mT)
            else:
                w_row += torch.bmm(g_row, x_col.mT)
        return w_row

    parts = parallel_map(correlate, partition_images(x, weight.numel(), g.shape[2:]), x)
    weight.copy_(layout.filters(reduce(torch.add, parts)))


def is_small(y: Tensor) -> bool:
    """Whether a product for each image of contiguous outputs would cost more than it saves.

    The filters are read for each of them anew.
    """
    return y.shape[2] * y.shape[3] < MIN_PIXELS


def partition_images(x: Tensor, weights: int, output_size: Sequence[int]) -> list[slice]:
    """The images x in a part for each thread; in one where that costs less, for so many weights."""
    multiplications = weights * len(x) * prod(output_size)
    pays = multiplications >= MIN_PARALLEL_MULTIPLICATIONS and weights <= MAX_PARALLEL_WEIGHTS
    return partition(x) if pays else [slice(0, len(x))]


def accumulator(x: Tensor, channels_last: bool) -> Tensor:
    """Memory for the sums of images like x, (n, C, H, W), in the workspace."""
    n, channels, height, width = x.shape
    like = x.new_empty(0, dtype=upcast_dtype(x))
    memory = workspace(like, x.numel(), "accumulator")
    if channels_last:
        return memory.view(n, height, width, channels).permute(0, 3, 1, 2)
    return memory.view(x.shape)


def why_not_im2col(algorithm: str) -> str | None:
    asked = {"winograd": "Winograd's algorithm", "tf32x3": "three products of tf32"}.get(algorithm)
    return f"{asked} was asked for" if asked else None


def _supports(a: Tensor, b: Tensor, geometry: Geometry, *options: Any) -> str | None:
    return why_not_im2col(options[-1])


def _supports_loops(weight: Tensor, g: Tensor, geometry: Geometry, *options: Any) -> str | None:
    return why_not_im2col(options[-1]) or why_not_jit(g)


CONV2D = Kernel("im2col", conv2d, _supports)
CONV2D_INPUT = Kernel("im2col", partial(conv2d_input, col2im), _supports_loops)
CONV2D_INPUT_BY_TAPS = Kernel("im2col_by_taps", partial(conv2d_input, col2im_by_taps), _supports)
CONV2D_WEIGHT = Kernel("im2col", conv2d_weight, _supports)
