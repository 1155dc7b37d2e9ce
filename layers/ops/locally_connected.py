"""The locally connected layer: a convolution with weights of its own at every position.

    y[n,g,co,p] = sum over k of  w[p,g,k,co] * X[n,g,k,p]

X are the columns of the convolution (conv.py), k = (i, j, c) a row and a column of the window and
a channel of the group.  Its gradients are the two other sums over the same product.

Letters: N images, G groups of C = C_in/G input and C_out/G output channels, p = (H_out, W_out).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .dtypes import upcast
from .geometry import Geometry, Pair
from .memory_format import empty_images
from .registry import operator


def _empty_y(x: Tensor, weight: Tensor, geometry: Geometry, channels_last: bool) -> Tensor:
    height, width, groups, _, channels = weight.shape
    return empty_images(x, (x.shape[0], groups * channels, height, width), channels_last)


def _empty_x(
    weight: Tensor, g: Tensor, geometry: Geometry, image_size: Pair, channels_last: bool
) -> Tensor:
    (kh, kw), (_, _, groups, size, _) = geometry.kernel_size, weight.shape
    return empty_images(g, (g.shape[0], groups * size // (kh * kw), *image_size), channels_last)


def _empty_weight(x: Tensor, g: Tensor, geometry: Geometry, channels_last: bool) -> Tensor:
    (kh, kw), groups = geometry.kernel_size, geometry.groups
    size, channels = x.shape[1] * kh * kw // groups, g.shape[1] // groups
    return x.new_empty(*g.shape[2:], groups, size, channels)


@operator(convolves=True, empty=_empty_y)
def locally_connected2d(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """x (N, C_in, H, W), weight (H_out, W_out, G, K, C_out/G) -> y (N, C_out, H_out, W_out)."""
    columns = _columns(upcast(x), geometry)
    return torch.einsum("ngkpq,pqgko->ngopq", columns, upcast(weight)).flatten(1, 2)


@operator(convolves=True, empty=_empty_x)
def locally_connected2d_input(
    weight: Tensor, g: Tensor, geometry: Geometry, image_size: Pair
) -> Tensor:
    """weight (H_out, W_out, G, K, C_out/G), g (N, C_out, H_out, W_out) -> x (N, C_in, *image_size)."""
    kernel_size, stride, padding, dilation, groups = geometry
    y = upcast(g).unflatten(1, (groups, -1))
    columns = torch.einsum("ngopq,pqgko->ngkpq", y, upcast(weight))
    windows = columns.unflatten(2, (*kernel_size, -1)).movedim(4, 2)  # N, G, C, K_h, K_w, p
    return F.fold(
        windows.flatten(1, 4).flatten(2), image_size, kernel_size, dilation, padding, stride
    )


@operator(convolves=True, empty=_empty_weight)
def locally_connected2d_weight(x: Tensor, g: Tensor, geometry: Geometry) -> Tensor:
    """x (N, C_in, H, W), g (N, C_out, H_out, W_out) -> weight (H_out, W_out, G, K, C_out/G)."""
    columns, y = _columns(upcast(x), geometry), upcast(g).unflatten(1, (geometry.groups, -1))
    return torch.einsum("ngkpq,ngopq->pqgko", columns, y)


def _columns(x: Tensor, geometry: Geometry) -> Tensor:
    """(N, C_in, H, W) as (N, G, K, H_out, W_out), K in the order K_h, K_w, C."""
    kernel_size, stride, padding, dilation, groups = geometry
    columns = F.unfold(x, kernel_size, dilation, padding, stride)
    windows = columns.unflatten(1, (groups, -1, *kernel_size)).movedim(2, 4)  # N, G, K_h, K_w, C
    return windows.flatten(2, 4).unflatten(3, geometry.output_size(x.shape[2:]))
