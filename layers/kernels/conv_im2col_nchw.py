"""Convolution at stride 1 of images with few channels: columns channels first, by shifts.

Letters and the order in memory: im2col_nchw.py.
"""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from ..interop.memory_format import is_channels_last
from ..ops.dtypes import upcast, upcast_dtype
from ..ops.geometry import Geometry, Pair
from ..ops.registry import Kernel
from .conv_im2col import accumulator, partition_images, why_not_im2col
from .conv_pointwise import is_pointwise
from .im2col import repeated
from .im2col_nchw import Col2imNCHW, Im2colNCHW
from .openmp import parallel_map

MAX_NCHW_RUN = 24  # a longer run of adjacent values is copied fast channels last
MAX_NCHW_FILTERS = 24  # the product of more takes so long that channels last it is faster


def conv2d(
    x: Tensor, weight: Tensor, geometry: Geometry, channels_last: bool, algorithm: str, y: Tensor
) -> None:
    layout = Im2colNCHW(x.shape[2:], x.shape[1], geometry, channels_last)
    w_row = layout.w_row(weight)

    def convolve(images: slice) -> None:
        for chunk, x_col in layout.filled(x[images]):
            part = chunk.of(y[images])
            w_rows = repeated(w_row, len(x_col))
            if channels_last:  # the filters of a pixel adjacent
                product = torch.bmm(x_col.mT, w_rows.mT).mT
            else:
                product = torch.bmm(w_rows, x_col)
            part.copy_(layout.in_rows(product, part.shape[2]))

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


def _why_not(geometry: Geometry, filters: int, algorithm: str) -> str | None:
    if reason := why_not_im2col(algorithm):
        return reason
    if geometry.stride != (1, 1):
        return "the stride is not 1"
    if is_pointwise(geometry):
        return "the image is its own columns"
    return "the filters are many" if filters > MAX_NCHW_FILTERS else None


def _why_not_runs(channels: int, geometry: Geometry) -> str | None:
    run = channels * geometry.kernel_size[1]
    return "rows of windows are long, which are copied fast" if run > MAX_NCHW_RUN else None


def _supports(
    x: Tensor, weight: Tensor, geometry: Geometry, channels_last: bool, algorithm: str
) -> str | None:
    reason = _why_not(geometry, len(weight), algorithm)
    return reason or _why_not_runs(x.shape[1], geometry)


def _supports_input(
    weight: Tensor,
    g: Tensor,
    geometry: Geometry,
    image_size: Pair,
    channels_last: bool,
    algorithm: str,
) -> str | None:
    reason = _why_not(geometry, len(weight), algorithm)
    many = weight.shape[1] * geometry.groups > MAX_NCHW_RUN
    return reason or ("channels are many, which are copied fast" if many else None)


def _supports_weight(
    x: Tensor, g: Tensor, geometry: Geometry, channels_last: bool, algorithm: str
) -> str | None:
    reason = _why_not(geometry, g.shape[1], algorithm)
    return reason or _why_not_runs(x.shape[1], geometry)


CONV2D = Kernel("im2col_nchw", conv2d, _supports)
CONV2D_INPUT = Kernel("im2col_nchw", conv2d_input, _supports_input)
CONV2D_WEIGHT = Kernel("im2col_nchw", conv2d_weight, _supports_weight)
