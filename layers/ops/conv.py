"""The three convolutions, as the chapter implements them: im2col, one matrix product, col2im.

    conv2d          Y = W_row @ X_col
    conv2d_input    X_col = W_row^T @ Y, then col2im
    conv2d_weight   W_row = Y @ X_col^T

Each is a product of two of three matrices, of which every group of channels has its own:

    W_row   (G, C_out/G, K)                a filter to a row, K = C_in/G * K_h * K_w
    X_col   (G, K, N*H_out*W_out)          a window to a column
    Y       (G, C_out/G, N*H_out*W_out)    a filter to a row, a window to a column
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..interop.memory_format import empty_images
from .dtypes import upcast
from .geometry import Geometry, Pair
from .registry import operator

BY_KERNELS = {
    "winograd": "by Winograd's algorithm, which is for 3x3 filters with stride 1, dilation 1 and "
    "padding up to 2, on a CPU with numba",
    "tf32x3": "as three products of tf32, which is for a GPU of compute capability 8.0 with "
    "triton, float32 and half precision, and groups of more than one channel",
}


@operator(
    empty=lambda x, weight, geometry, channels_last, algorithm: empty_images(
        x, (x.shape[0], weight.shape[0], *geometry.output_size(x.shape[2:])), channels_last
    ),
    convolves=True,
)
def conv2d(x: Tensor, weight: Tensor, geometry: Geometry, algorithm: str) -> Tensor:
    """Every filter at every window of every image.

        y[n,co,p,q] = sum over ci, i, j of  w[co,ci,i,j] * x[n,ci, S p + D i - P, S q + D j - P]

    x (N, C_in, H, W), weight (C_out, C_in/G, K_h, K_w) -> y (N, C_out, H_out, W_out).
    """
    _refuse(algorithm)
    y = torch.bmm(_w_row(weight, geometry), im2col(x, geometry))
    output_size = geometry.output_size(x.shape[2:])
    return y.flatten(0, 1).unflatten(1, (-1, *output_size)).movedim(1, 0).to(x.dtype)


@operator(
    empty=lambda weight, g, geometry, image_size, channels_last, algorithm: empty_images(
        g, (g.shape[0], weight.shape[1] * geometry.groups, *image_size), channels_last
    ),
    convolves=True,
)
def conv2d_input(
    weight: Tensor, g: Tensor, geometry: Geometry, image_size: Pair, algorithm: str
) -> Tensor:
    """The adjoint of `conv2d` in x: every output gives back to the pixels that it has seen.

        x[n,ci, S p + D i - P, S q + D j - P] += w[co,ci,i,j] * g[n,co,p,q]

    weight (C_out, C_in/G, K_h, K_w), g (N, C_out, H_out, W_out) -> x (N, C_in, *image_size).
    """
    _refuse(algorithm)
    x_col = torch.bmm(_w_row(weight, geometry).mT, _y(g, geometry))
    return col2im(x_col, geometry, image_size).to(g.dtype)


@operator(
    empty=lambda x, g, geometry, channels_last, algorithm: empty_images(
        x, (g.shape[1], x.shape[1] // geometry.groups, *geometry.kernel_size), channels_last
    ),
    convolves=True,
)
def conv2d_weight(x: Tensor, g: Tensor, geometry: Geometry, algorithm: str) -> Tensor:
    """The adjoint of `conv2d` in the filters, summed over all windows of all images.

        w[co,ci,i,j] = sum over n, p, q of  g[n,co,p,q] * x[n,ci, S p + D i - P, S q + D j - P]

    x (N, C_in, H, W), g (N, C_out, H_out, W_out) -> weight (C_out, C_in/G, K_h, K_w).
    """
    _refuse(algorithm)
    w_row = torch.bmm(_y(g, geometry), im2col(x, geometry).mT)
    return w_row.flatten(0, 1).unflatten(1, (-1, *geometry.kernel_size)).to(x.dtype)


def im2col(x: Tensor, geometry: Geometry) -> Tensor:
    """X_col (G, K, N*H_out*W_out) of images (N, C_in, H, W): every window stretched out."""
    windows = unfold(upcast(x), geometry, geometry.output_size(x.shape[2:]))
    columns = windows.permute(1, 4, 5, 0, 2, 3)  # (C_in, K_h, K_w, N, H_out, W_out)
    return columns.flatten(3).flatten(0, 2).unflatten(0, (geometry.groups, -1))


def col2im(x_col: Tensor, geometry: Geometry, image_size: Pair) -> Tensor:
    """The adjoint of `im2col`: every number is added back to the pixel that it was read from."""
    columns = x_col.flatten(0, 1).unflatten(0, (-1, *geometry.kernel_size))
    columns = columns.unflatten(3, (-1, *geometry.output_size(image_size)))
    return fold(columns.permute(3, 0, 4, 5, 1, 2), geometry, image_size)


def unfold(x: Tensor, geometry: Geometry, output_size: Pair) -> Tensor:
    """Every window of the zero-padded images, as a view.

        windows[n,c,p,q,i,j] = x[n,c, S p + D i - P, S q + D j - P]

    x (N, C, H, W) -> windows (N, C, *output_size, K_h, K_w).  What `torch.nn.functional.unfold`
    copies, for any dtype; the last windows may hang over the border, as in pooling.
    """
    (sh, sw), (ph, pw), (dh, dw) = geometry.stride, geometry.padding, geometry.dilation
    (span_h, span_w), (height, width) = geometry.span, x.shape[2:]
    below = (output_size[0] - 1) * sh + span_h - ph - height
    right = (output_size[1] - 1) * sw + span_w - pw - width
    padded = F.pad(x, (pw, max(0, right), ph, max(0, below)))
    windows = padded.unfold(2, span_h, sh).unfold(3, span_w, sw)
    return windows[:, :, : output_size[0], : output_size[1], ::dh, ::dw]


def fold(windows: Tensor, geometry: Geometry, image_size: Pair) -> Tensor:
    """The adjoint of `unfold`: what windows share is added up.

        x[n,c, S p + D i - P, S q + D j - P] += windows[n,c,p,q,i,j]

    windows (N, C, H_out, W_out, K_h, K_w) -> x (N, C, *image_size).
    """
    x = windows.new_zeros(*windows.shape[:2], *image_size)
    for tap in geometry.taps(image_size, windows.shape[2:4]):
        x[tap.pixels].add_(windows[..., tap.row, tap.column][tap.outputs])
    return x


def _w_row(weight: Tensor, geometry: Geometry) -> Tensor:
    return upcast(weight).flatten(1).unflatten(0, (geometry.groups, -1))


def _y(g: Tensor, geometry: Geometry) -> Tensor:
    return upcast(g).movedim(1, 0).flatten(1).unflatten(0, (geometry.groups, -1))


def _refuse(algorithm: str) -> None:
    """What was asked for by name is not computed otherwise; "allow_tf32x3" asks for nothing."""
    if algorithm in BY_KERNELS:
        raise ValueError(f"no kernel computes this {BY_KERNELS[algorithm]}: use im2col or auto")
