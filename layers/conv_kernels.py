"""The three convolutions as matrix products over columns, a few images at a time.

    conv2d          Y = W_row @ X_col
    conv2d_input    X_col = W_row^T @ Y, then col2im
    conv2d_weight   W_row = Y @ X_col^T, summed over the images

Each is registered as one opaque operator: `torch.compile` and `torch.export` see a single node,
whose size does not grow with the batch.  Operators take integers, so the `Geometry` travels flat.
Their derivatives are in conv.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .flat_im2col import FlatIm2col
from .geometry import Geometry
from .im2col import Im2col
from .operator import operator, wide

LONG_RUN = 24  # numbers side by side from which copying them channels last is fast


def choose_layout(
    image_size: Sequence[int], in_channels: int, geometry: Geometry, run: int
) -> Im2col:
    """Channels last, unless its runs of `run` numbers are short and a stride of 1 allows better."""
    flat = geometry.stride == (1, 1) and run <= LONG_RUN and not geometry.is_pointwise
    height, width = image_size
    return (FlatIm2col if flat else Im2col)((height, width), in_channels, geometry)


def plan_conv2d(x: Tensor, weight: Tensor, geometry: Sequence[int]) -> tuple[Im2col, Tensor]:
    """The layout, and an empty y (N, C_out, H_out, W_out)."""
    shape = Geometry.unflatten(geometry)
    run = x.shape[1] * shape.kernel_size[1]  # im2col copies rows of windows
    layout = choose_layout(x.shape[2:], x.shape[1], shape, run)
    return layout, layout.new_volume(x, (x.shape[0], weight.shape[0], *layout.output_size))


@operator(fake=lambda *inputs: plan_conv2d(*inputs)[1])
def conv2d(x: Tensor, weight: Tensor, geometry: Sequence[int]) -> Tensor:
    """x (N, C_in, H, W), weight (C_out, C_in/G, K_h, K_w) -> y (N, C_out, H_out, W_out)."""
    layout, y = plan_conv2d(x, weight, geometry)
    w_row = layout.w_row(weight)
    for chunk, x_col in layout.filled(x):
        layout.product(w_row, x_col, chunk.of(y))
    return y


def plan_conv2d_input(
    weight: Tensor, g: Tensor, geometry: Sequence[int], image_size: Sequence[int]
) -> tuple[Im2col, Tensor]:
    """The layout, and an empty x (N, C_in, *image_size)."""
    shape = Geometry.unflatten(geometry)
    in_channels = weight.shape[1] * shape.groups
    layout = choose_layout(image_size, in_channels, shape, run=in_channels)  # col2im adds pixels
    return layout, layout.new_volume(g, (g.shape[0], in_channels, *image_size))


@operator(fake=lambda *inputs: plan_conv2d_input(*inputs)[1])
def conv2d_input(
    weight: Tensor, g: Tensor, geometry: Sequence[int], image_size: Sequence[int]
) -> Tensor:
    """weight (C_out, C_in/G, K_h, K_w), g (N, C_out, H_out, W_out) -> x (N, C_in, *image_size)."""
    layout, x = plan_conv2d_input(weight, g, geometry, image_size)
    w_row = layout.w_row(weight)
    if layout.geometry.is_pointwise:
        layout.product(w_row.mT, layout.matrices(g), x)
        return x
    for chunk, memory in layout.chunks(g):
        x_col = layout.x_col(memory, chunk)
        layout.transposed_product(w_row, layout.matrices(chunk.of(g)), x_col)
        if chunk.rows.start == 0:
            total = wide(x[chunk.images].zero_())
        layout.col2im(memory, chunk, total)
        if total.dtype != x.dtype:
            x[chunk.images] = total
    return x


def plan_conv2d_weight(x: Tensor, g: Tensor, geometry: Sequence[int]) -> tuple[Im2col, Tensor]:
    """The layout, and an empty weight (C_out, C_in/G, K_h, K_w)."""
    shape = Geometry.unflatten(geometry)
    run = x.shape[1] * shape.kernel_size[1]  # im2col copies rows of windows
    layout = choose_layout(x.shape[2:], x.shape[1], shape, run)
    return layout, x.new_empty(g.shape[1], layout.channels, *shape.kernel_size)


@operator(fake=lambda *inputs: plan_conv2d_weight(*inputs)[1])
def conv2d_weight(x: Tensor, g: Tensor, geometry: Sequence[int]) -> Tensor:
    """x (N, C_in, H, W), g (N, C_out, H_out, W_out) -> weight (C_out, C_in/G, K_h, K_w)."""
    layout, weight = plan_conv2d_weight(x, g, geometry)
    w_row = wide(torch.zeros_like(layout.w_row(weight).mT).mT)  # K is the product's long side
    for chunk, x_col in layout.filled(x):
        layout.add_product(w_row, layout.matrices(chunk.of(g)), x_col)
    return weight.copy_(layout.filters(w_row))
