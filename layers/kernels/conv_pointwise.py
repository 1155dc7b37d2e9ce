"""Convolution with 1x1 filters at stride 1: the image is its own columns, and nothing is copied.

Channels last it is one product over the pixels of all images, [N P x C] @ [C x C']; channels first
a product for each image, [C' x C] @ [C x P].

Letters: N images, G groups of C input and C' output channels, P pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..interop.dry_run import few
from ..ops.dtypes import upcast
from ..ops.geometry import Geometry, Pair
from ..ops.registry import Kernel
from .conv_im2col import is_small, why_not_im2col
from .im2col import as_matrices, repeated, scratch_pixels
from .workspace import workspace_bytes


def conv2d(
    x: Tensor, weight: Tensor, geometry: Geometry, channels_last: bool, algorithm: str, y: Tensor
) -> None:
    _product(_w_row(weight, geometry), x, y, channels_last)


def conv2d_input(
    weight: Tensor,
    g: Tensor,
    geometry: Geometry,
    image_size: Pair,
    channels_last: bool,
    algorithm: str,
    x: Tensor,
) -> None:
    _product(_w_row(weight, geometry).mT, g, x, channels_last)


def conv2d_weight(
    x: Tensor, g: Tensor, geometry: Geometry, channels_last: bool, algorithm: str, weight: Tensor
) -> None:
    if not len(x):
        weight.zero_()
    elif channels_last or is_small(x):
        y, x_col = as_matrices(g, geometry.groups), as_matrices(x, geometry.groups, "x")
        _w_row(weight, geometry).copy_(torch.bmm(y, x_col.mT))
    else:
        w_row = upcast(torch.zeros_like(_w_row(weight, geometry)))
        _add_products(w_row, _maps(g, geometry.groups), _maps(x, geometry.groups))
        _w_row(weight, geometry).copy_(w_row)


def _product(w_row: Tensor, x: Tensor, y: Tensor, channels_last: bool) -> None:
    """y = W_row @ X, in the order in which y lies."""
    groups = len(w_row)
    if not (channels_last or is_small(y)):
        x_maps = _maps(x, groups)
        torch.bmm(repeated(w_row, len(x_maps)), x_maps, out=_maps(y, groups))
        return
    pixels = y if channels_last else scratch_pixels(y)
    torch.bmm(as_matrices(x, groups).mT, w_row.mT, out=as_matrices(pixels, groups).mT)
    if pixels is not y:
        y.copy_(pixels)


def _add_products(w_row: Tensor, y: Tensor, x: Tensor) -> None:
    """W_row += Y @ X^T of some images at a time: all products at once would be large.

    On a CPU one image after the other, whose product is added where it belongs.
    """
    groups = len(w_row)
    images = 1 if y.is_cpu else max(1, workspace_bytes(y) // (w_row.numel() * y.element_size()))
    parts = (t.split(images * groups) for t in (y, x))
    for left, right in few([*zip(*parts, strict=True)]):
        if images == 1 and w_row.dtype == y.dtype:
            w_row.baddbmm_(left, right.mT)
        else:
            w_row += torch.bmm(left, right.mT).unflatten(0, (-1, groups)).sum(0)


def _maps(x: Tensor, groups: int) -> Tensor:
    """(N, G*C, H, W) as matrices (N*G, C, P): a view if x is contiguous."""
    return x.flatten(2).unflatten(1, (groups, -1)).flatten(0, 1)


def _w_row(weight: Tensor, geometry: Geometry) -> Tensor:
    """Filters (G*C', C, 1, 1) as W_row (G, C', C), a view."""
    return weight[..., 0, 0].unflatten(0, (geometry.groups, -1))


def is_pointwise(geometry: Geometry) -> bool:
    """A 1x1 window that visits every pixel once: the columns are the image itself."""
    return geometry.kernel_size == geometry.stride == (1, 1) and geometry.padding == (0, 0)


def _supports(a: Tensor, b: Tensor, geometry: Geometry, *options: Any) -> str | None:
    if reason := why_not_im2col(options[-1]):
        return reason
    return None if is_pointwise(geometry) else "it is for 1x1 filters at stride 1"


CONV2D = Kernel("pointwise", conv2d, _supports)
CONV2D_INPUT = Kernel("pointwise", conv2d_input, _supports)
CONV2D_WEIGHT = Kernel("pointwise", conv2d_weight, _supports)
