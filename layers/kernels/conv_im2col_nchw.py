"""Convolution at stride 1 of images with few channels: columns channels first, by shifts.

Letters and the order in memory: im2col_nchw.py.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import torch
from torch import Tensor

from ..ops.dtypes import upcast, upcast_dtype
from ..ops.geometry import Geometry, Pair
from ..ops.memory_format import is_channels_last
from ..ops.registry import Kernel
from .conv_im2col import accumulator, partition_images, why_not_im2col
from .im2col import repeated
from .im2col_nchw import Col2imNCHW, Im2colNCHW
from .openmp import parallel_map

MAX_NCHW_RUN = 24  # a longer run of adjacent values is copied fast channels last


def conv2d(
    x: Tensor, weight: Tensor, geometry: Geometry, channels_last: bool, algorithm: str, y: Tensor
) -> None:
    layout = Im2colNCHW(x.shape[2:], x.shape[1], geometry, channels_last)
    w_row = layout.w_row(weight)

    def convolve(images: slice) -> None:
        for chunk, x_col in layout.filled(x[images]):
            part = chunk.of(y[images])
            part.copy_(layout.in_rows(layout.product(w_row, x_col), part.shape[2]))

    parallel_map(convolve, partition_images(x, weight.numel(), y.shape[2:]), x)


def conv2d_input(
    weight: Tensor,
    g: Tensor,
    geometry: Geometry,
    image_size: Pair,
    channels_last: bool,
    algorithm: str,
    x: Tensor,
) -> None:
    layout = Col2imNCHW(image_size, x.shape[1], g.shape[1], geometry)
    w_row = layout.w_row(weight)
    in_place = x.is_contiguous() and x.dtype == upcast_dtype(x)

    def convolve(images: slice) -> None:
        for chunk, memory in layout.chunks(g[images]):
            part = x[images][chunk.images]
            if chunk.rows.start == 0:
                total = (part if in_place else accumulator(part, channels_last=False)).zero_()
            sums, columns = layout.split(memory, chunk)
            layout.im2col_rows(chunk.of(g[images]), columns)
            torch.bmm(repeated(w_row, len(columns)).mT, columns, out=sums)
            layout.col2im_rows(sums, chunk, total)
            if not in_place and chunk.rows.stop == g.shape[2]:
                part.copy_(total)

    parallel_map(convolve, partition_images(g, weight.numel(), g.shape[2:]), g)


def conv2d_weight(
    x: Tensor, g: Tensor, geometry: Geometry, channels_last: bool, algorithm: str, weight: Tensor
) -> None:
    layout = Im2colNCHW(x.shape[2:], x.shape[1], geometry, is_channels_last(g))

    def correlate(images: slice) -> Tensor:
        w_row = upcast(torch.zeros_like(layout.w_row(weight).mT).mT)  # K is the product's long side
        for chunk, x_col in layout.filled(x[images]):
            g_row = layout.y_row(chunk.of(g[images]))
            # a product for each image, then their sum
            w_row += torch.bmm(g_row, x_col.mT).unflatten(0, (-1, geometry.groups)).sum(0)
        return w_row

    parts = parallel_map(correlate, partition_images(x, weight.numel(), g.shape[2:]), x)
    weight.copy_(layout.filters(reduce(torch.add, parts)))


def _supports_shifts(geometry: Geometry, algorithm: str) -> str | None:
    if reason := why_not_im2col(algorithm):
        return reason
    if geometry.stride != (1, 1):
        return "the stride is not 1"
    return "the image is its own columns" if geometry.is_pointwise else None


def _supports(x: Tensor, other: Tensor, geometry: Geometry, *options: Any) -> str | None:
    run = x.shape[1] * geometry.kernel_size[1]
    if reason := _supports_shifts(geometry, options[-1]):
        return reason
    long = f"a row of a window has {run} values, which are copied fast channels last"
    return long if run > MAX_NCHW_RUN else None


def _supports_input(weight: Tensor, g: Tensor, geometry: Geometry, *options: Any) -> str | None:
    if reason := _supports_shifts(geometry, options[-1]):
        return reason
    (kh, kw), in_channels = geometry.kernel_size, weight.shape[1] * geometry.groups
    # For each pixel, the columns of g, and the sums twice, against all taps.
    moves_less = len(weight) * kw + 2 * in_channels * kh < in_channels * kh * kw
    if in_channels <= MAX_NCHW_RUN or (moves_less and geometry.groups == 1):
        return None
    return f"{in_channels} channels are copied fast channels last"


CONV2D = Kernel("im2col_nchw", conv2d, _supports)
CONV2D_INPUT = Kernel("im2col_nchw", conv2d_input, _supports_input)
CONV2D_WEIGHT = Kernel("im2col_nchw", conv2d_weight, _supports)
