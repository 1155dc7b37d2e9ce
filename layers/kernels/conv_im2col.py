"""The three convolutions as matrix products over columns, a few images at a time.

    conv2d          Y = W_row @ X_col
    conv2d_input    X_col = W_row^T @ Y, then col2im (of thin images as in `Col2imNCHW`)
    conv2d_weight   W_row = Y @ X_col^T, summed over the images

Each is registered as one opaque operator: `torch.compile` and `torch.export` see a single node,
whose size does not grow with the batch.  Operators take integers, so the `Geometry` travels flat.
Their derivatives are in conv.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import prod

import torch
from torch import Tensor

from ..ops.geometry import Geometry
from ..ops.legacy import operator, upcast
from .im2col import Im2col
from .im2col_nchw import Col2imNCHW, Im2colNCHW, Pointwise
from .openmp import parallel_map, partition

MAX_NCHW_RUN = 24  # a longer run of adjacent values is copied fast channels last
MIN_PARALLEL_MULTIPLICATIONS = 1 << 27  # from which it pays to give each thread its own images
MAX_PARALLEL_WEIGHTS = 1 << 20  # up to which it pays: every thread reads all of them
MIN_NCHW_PIXELS = 128  # of a map, from which 1x1 filters are applied to it in place


def is_thin(geometry: Geometry, run: int) -> bool:
    """Whether im2col_nchw.py is better: runs of `run` numbers are short, and the stride allows."""
    return geometry.stride == (1, 1) and run <= MAX_NCHW_RUN and not geometry.is_pointwise


def half_im2col_moves_less(geometry: Geometry, in_channels: int, out_channels: int) -> bool:
    """Whether `Col2imNCHW` moves fewer numbers for each pixel: columns of g, and sums twice."""
    kh, kw = geometry.kernel_size
    fits = geometry.stride == (1, 1) and geometry.groups == 1
    return fits and out_channels * kw + 2 * in_channels * kh < in_channels * kh * kw


def partition_images(x: Tensor, weights: int, output_size: Sequence[int]) -> list[slice]:
    """The images x in a part for each thread; in one where that costs less, for so many weights."""
    multiplications = weights * len(x) * prod(output_size)
    pays = multiplications >= MIN_PARALLEL_MULTIPLICATIONS and weights <= MAX_PARALLEL_WEIGHTS
    return partition(x) if pays else [slice(0, len(x))]


def choose_layout(x: Tensor, geometry: Geometry) -> Im2col:
    """For columns of the image x, whose im2col copies rows of windows."""
    _, channels, height, width = x.shape
    layout: type[Im2col] = Im2col
    if geometry.is_pointwise and has_large_maps(x):
        layout = Pointwise
    elif is_thin(geometry, channels * geometry.kernel_size[1]):
        layout = Im2colNCHW
    return layout((height, width), channels, geometry)


def has_large_maps(x: Tensor) -> bool:
    """Whether x lies channels first, in maps large enough for products of their own."""
    channels_first = x.is_contiguous() and not x.is_contiguous(memory_format=torch.channels_last)
    return channels_first and x.shape[2] * x.shape[3] >= MIN_NCHW_PIXELS


def plan_conv2d(x: Tensor, weight: Tensor, geometry: Sequence[int]) -> tuple[Im2col, Tensor]:
    """The layout, and an empty y (N, C_out, H_out, W_out)."""
    layout = choose_layout(x, Geometry.unflatten(geometry))
    return layout, layout.new_volume(x, (x.shape[0], weight.shape[0], *layout.output_size))


@operator(fake=lambda *inputs: plan_conv2d(*inputs)[1], convolves=True)
def conv2d(x: Tensor, weight: Tensor, geometry: Sequence[int]) -> Tensor:
    """x (N, C_in, H, W), weight (C_out, C_in/G, K_h, K_w) -> y (N, C_out, H_out, W_out)."""
    layout, y = plan_conv2d(x, weight, geometry)
    w_row = layout.w_row(weight)
    if layout.geometry.is_pointwise:
        layout.product(w_row, layout.matrices(x), y)
        return y

    def convolve(images: slice) -> None:
        for chunk, x_col in layout.filled(x[images]):
            layout.product(w_row, x_col, chunk.of(y[images]))

    parallel_map(convolve, partition_images(x, weight.numel(), y.shape[2:]), x)
    return y


def plan_conv2d_input(
    weight: Tensor, g: Tensor, geometry: Sequence[int], image_size: Sequence[int]
) -> tuple[Im2col, Tensor]:
    """The layout, and an empty x (N, C_in, *image_size)."""
    size = (image_size[0], image_size[1])
    shape = Geometry.unflatten(geometry)
    in_channels = weight.shape[1] * shape.groups
    layout: Im2col
    if shape.is_pointwise and has_large_maps(g):
        layout = Pointwise(size, in_channels, shape)
    elif is_thin(shape, run=in_channels) or half_im2col_moves_less(shape, in_channels, len(weight)):
        layout = Col2imNCHW(size, in_channels, len(weight), shape)
    else:
        layout = Im2col(size, in_channels, shape)
    return layout, layout.new_volume(g, (g.shape[0], in_channels, *image_size))


@operator(fake=lambda *inputs: plan_conv2d_input(*inputs)[1], convolves=True)
def conv2d_input(
    weight: Tensor, g: Tensor, geometry: Sequence[int], image_size: Sequence[int]
) -> Tensor:
    """weight (C_out, C_in/G, K_h, K_w), g (N, C_out, H_out, W_out) -> x (N, C_in, *image_size)."""
    layout, x = plan_conv2d_input(weight, g, geometry, image_size)
    w_row = layout.w_row(weight)
    if layout.geometry.is_pointwise:
        layout.product(w_row.mT, layout.matrices(g), x)
        return x

    def convolve(images: slice) -> None:
        slopes, pixels = g[images], x[images]
        for chunk, memory in layout.chunks(slopes):
            if chunk.rows.start == 0:
                total = upcast(pixels[chunk.images].zero_())
            layout.add_input_gradient(w_row, chunk.of(slopes), chunk, memory, total)
            if total.dtype != x.dtype:
                pixels[chunk.images] = total

    parallel_map(convolve, partition_images(g, weight.numel(), g.shape[2:]), g)
    return x


def plan_conv2d_weight(x: Tensor, g: Tensor, geometry: Sequence[int]) -> tuple[Im2col, Tensor]:
    """The layout, and an empty weight (C_out, C_in/G, K_h, K_w)."""
    layout = choose_layout(x, Geometry.unflatten(geometry))
    kernel_size = layout.geometry.kernel_size
    return layout, x.new_empty(g.shape[1], layout.channels, *kernel_size)


@operator(fake=lambda *inputs: plan_conv2d_weight(*inputs)[1], convolves=True)
def conv2d_weight(x: Tensor, g: Tensor, geometry: Sequence[int]) -> Tensor:
    """x (N, C_in, H, W), g (N, C_out, H_out, W_out) -> weight (C_out, C_in/G, K_h, K_w)."""
    layout, weight = plan_conv2d_weight(x, g, geometry)
    if layout.geometry.is_pointwise and type(layout) is Im2col and upcast(weight) is weight:
        y, x_col = layout.matrices(g), layout.matrices(x)
        torch.bmm(y, x_col.mT, out=layout.w_row(weight))  # which is a view
        return weight

    def correlate(images: slice) -> Tensor:
        w_row = upcast(torch.zeros_like(layout.w_row(weight).mT).mT)  # K is the product's long side
        for chunk, x_col in layout.filled(x[images]):
            layout.add_product(w_row, layout.matrices(chunk.of(g[images])), x_col)
        return w_row

    w_row = reduce(
        torch.add, parallel_map(correlate, partition_images(x, weight.numel(), g.shape[2:]), x)
    )
    return weight.copy_(layout.filters(w_row))
