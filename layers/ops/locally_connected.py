"""The locally connected layer: at every position of the output filters of its own.

One einsum and its two adjoints.  Letters: n image, g group, k tap and channel inside a window,
c filter of a group, p and q position.

    X (N, G, H_out, W_out, K)            every window of the image, K = K_h * K_w * C_in/G
    W (H_out, W_out, G, K, C_out/G)      the weights
    Y (N, G, C_out/G, H_out, W_out)      the output
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from ..interop.memory_format import empty_images
from .conv import fold, unfold
from .dtypes import upcast
from .geometry import Geometry, Pair
from .registry import operator


@operator(
    empty=lambda x, weight, geometry, channels_last: empty_images(
        x, (x.shape[0], weight.shape[2] * weight.shape[4], *weight.shape[:2]), channels_last
    ),
    convolves=True,
)
def locally_connected2d(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """A convolution whose weights are not shared between positions.

        y[n,co,p,q] = sum over i, j, ci of  w[p,q,i,j,ci,co] * x[n,ci, S p + D i - P, S q + D j - P]

    x (N, C_in, H, W), weight (H_out, W_out, G, K, C_out/G), K in the order (K_h, K_w, channel)
    -> y (N, C_out, H_out, W_out).
    """
    windows = _windows(x, geometry)
    y = torch.einsum("ngpqk,pqgkc->ngcpq", windows, upcast(weight))
    return y.flatten(1, 2).to(x.dtype)


@operator(
    empty=lambda weight, g, geometry, image_size, channels_last: empty_images(
        g,
        (g.shape[0], weight.shape[2] * weight.shape[3] // prod(geometry.kernel_size), *image_size),
        channels_last,
    ),
    convolves=True,
)
def locally_connected2d_input(
    weight: Tensor, g: Tensor, geometry: Geometry, image_size: Pair
) -> Tensor:
    """The adjoint in x: every output gives back to the pixels that it has seen.

        x[n,ci, S p + D i - P, S q + D j - P] += w[p,q,i,j,ci,co] * g[n,co,p,q]

    weight (H_out, W_out, G, K, C_out/G), g (N, C_out, H_out, W_out) -> x (N, C_in, *image_size).
    """
    windows = torch.einsum("pqgkc,ngcpq->ngpqk", upcast(weight), _by_group(g, geometry))
    windows = windows.unflatten(4, (*geometry.kernel_size, -1))  # (N, G, H_out, W_out, K_h, K_w, C)
    windows = windows.movedim(6, 2).flatten(1, 2)
    return fold(windows, geometry, image_size).to(g.dtype)


@operator(
    empty=lambda x, g, geometry, channels_last: x.new_empty(
        *g.shape[2:], geometry.groups, x.shape[1] * prod(geometry.kernel_size) // geometry.groups,
        g.shape[1] // geometry.groups,
    ),
    convolves=True,
)  # fmt: skip
def locally_connected2d_weight(x: Tensor, g: Tensor, geometry: Geometry) -> Tensor:
    """The adjoint in the weights, summed over images alone.

        w[p,q,i,j,ci,co] = sum over n of  g[n,co,p,q] * x[n,ci, S p + D i - P, S q + D j - P]

    x (N, C_in, H, W), g (N, C_out, H_out, W_out) -> weight (H_out, W_out, G, K, C_out/G).
    """
    windows = _windows(x, geometry)
    return torch.einsum("ngpqk,ngcpq->pqgkc", windows, _by_group(g, geometry)).to(x.dtype)


def _windows(x: Tensor, geometry: Geometry) -> Tensor:
    """X."""
    windows = unfold(upcast(x), geometry, geometry.output_size(x.shape[2:]))
    windows = windows.unflatten(1, (geometry.groups, -1))  # (N, G, C, H_out, W_out, K_h, K_w)
    return windows.movedim(2, 6).flatten(4)


def _by_group(g: Tensor, geometry: Geometry) -> Tensor:
    """Y."""
    return upcast(g).unflatten(1, (geometry.groups, -1))
