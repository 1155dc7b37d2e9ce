"""The three convolutions of the chapter, "Implementation as Matrix Multiplication".

Every window of the image is stretched out into a column, every filter into a row, and a convolution
is one product of matrices:

    Y = W_row @ X_col          W_row [C_out x K],  X_col [K x pixels],  K = C_in/G * K_h * K_w

Its gradients are the two transposed products:

    X = fold(W_row^T @ Y)      every number is added back to the pixel it was read from
    W_row = Y @ X_col^T        summed over the images

Letters: N images, G groups of C = C_in/G input and C_out/G output channels, P = H_out * W_out.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .dtypes import upcast
from .geometry import Geometry, Pair
from .memory_format import empty_images
from .registry import operator


def _empty_y(
    x: Tensor, weight: Tensor, geometry: Geometry, channels_last: bool, algorithm: str
) -> Tensor:
    size = geometry.output_size(x.shape[2:])
    return empty_images(x, (x.shape[0], weight.shape[0], *size), channels_last)


def _empty_x(
    weight: Tensor,
    g: Tensor,
    geometry: Geometry,
    image_size: Pair,
    channels_last: bool,
    algorithm: str,
) -> Tensor:
    shape = g.shape[0], weight.shape[1] * geometry.groups, *image_size
    return empty_images(g, shape, channels_last)


def _empty_weight(
    x: Tensor, g: Tensor, geometry: Geometry, channels_last: bool, algorithm: str
) -> Tensor:
    shape = g.shape[1], x.shape[1] // geometry.groups, *geometry.kernel_size
    return empty_images(x, shape, channels_last)


@operator(convolves=True, empty=_empty_y)
def conv2d(x: Tensor, weight: Tensor, geometry: Geometry, algorithm: str) -> Tensor:
    """x (N, C_in, H, W), weight (C_out, C, K_h, K_w) -> y (N, C_out, H_out, W_out).

    Y = W_row @ X_col
    """
    _refuse_winograd(algorithm)
    w_row = _w_row(upcast(weight), geometry)  # G, C_out/G, K
    y = w_row @ _x_col(upcast(x), geometry)  # N, G, C_out/G, P
    return y.flatten(1, 2).unflatten(2, geometry.output_size(x.shape[2:]))


@operator(convolves=True, empty=_empty_x)
def conv2d_input(
    weight: Tensor,
    g: Tensor,
    geometry: Geometry,
    image_size: Pair,
    algorithm: str,
) -> Tensor:
    """weight (C_out, C, K_h, K_w), g (N, C_out, H_out, W_out) -> x (N, C_in, *image_size).

    X = fold(W_row^T @ G)
    """
    _refuse_winograd(algorithm)
    columns = _w_row(upcast(weight), geometry).mT @ _y_row(upcast(g), geometry)  # N, G, K, P
    kernel_size, stride, padding, dilation, _ = geometry
    return F.fold(columns.flatten(1, 2), image_size, kernel_size, dilation, padding, stride)


@operator(convolves=True, empty=_empty_weight)
def conv2d_weight(x: Tensor, g: Tensor, geometry: Geometry, algorithm: str) -> Tensor:
    """x (N, C_in, H, W), g (N, C_out, H_out, W_out) -> weight (C_out, C, K_h, K_w).

    W_row = sum over the images of  G @ X_col^T
    """
    _refuse_winograd(algorithm)
    w_row = (_y_row(upcast(g), geometry) @ _x_col(upcast(x), geometry).mT).sum(0)  # G, C_out/G, K
    return w_row.flatten(0, 1).unflatten(1, (-1, *geometry.kernel_size))


def _x_col(x: Tensor, geometry: Geometry) -> Tensor:
    """(N, C_in, H, W) as columns (N, G, K, P)."""
    kernel_size, stride, padding, dilation, groups = geometry
    return F.unfold(x, kernel_size, dilation, padding, stride).unflatten(1, (groups, -1))


def _w_row(weight: Tensor, geometry: Geometry) -> Tensor:
    """(C_out, C, K_h, K_w) as rows (G, C_out/G, K)."""
    return weight.flatten(1).unflatten(0, (geometry.groups, -1))


def _y_row(y: Tensor, geometry: Geometry) -> Tensor:
    """(N, C_out, H_out, W_out) as rows (N, G, C_out/G, P)."""
    return y.flatten(2).unflatten(1, (geometry.groups, -1))


def _refuse_winograd(algorithm: str) -> None:
    if algorithm == "winograd":
        raise ValueError(
            "no kernel computes this by Winograd's algorithm, which is for 3x3 filters with stride "
            "1, dilation 1 and padding up to 2, on a CPU: use im2col or auto"
        )
