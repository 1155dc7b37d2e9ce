"""The locally connected trio: at every position p a product of its own, some positions at a time.

    local          Y[p] = X[p] @ W[p]          [N x K] @ [K x C_out/G]
    local_input    X[p] = Y[p] @ W[p]^T        then added back to the pixels
    local_weight   W[p] = X[p]^T @ Y[p]

X[p] is the window at p of every image, a row each; Y[p] are outputs where they lie, channels last.
Positions are taken some rows of the output at a time, so that the windows fit a cache.  Derivatives
are in locally_connected.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import torch
from torch import Tensor

from ..ops.geometry import Geometry
from ..ops.legacy import channels_last, operator
from .im2col import Im2col, col2im
from .workspace import workspace, workspace_bytes


def _rows(like: Tensor, row_size: int, height: int) -> Iterator[slice]:
    """Rows of the output, as many at a time as fit the workspace."""
    step = max(1, workspace_bytes(like) // max(1, row_size * like.element_size()))
    for start in range(0, height, step):
        yield slice(start, min(start + step, height))


def _padded(x: Tensor, geometry: Geometry) -> Tensor:
    """(N, C, H, W) as (N, H + 2P, W + 2P, G, C/G), zeros around it."""
    pixels = Im2col((x.shape[2], x.shape[3]), x.shape[1], geometry).padded(x).permute(0, 2, 3, 1)
    return pixels.unflatten(3, (geometry.groups, -1))


def _windows(padded: Tensor, geometry: Geometry, outputs: Sequence[int]) -> Tensor:
    """(H_out, W_out, G, N, K_h, K_w, C/G): every window, as a view."""
    by_image, by_row, by_pixel, by_group, by_channel = padded.stride()
    (kh, kw), (sh, sw), _, (dh, dw), groups = geometry
    return padded.as_strided(
        (*outputs, groups, padded.shape[0], kh, kw, padded.shape[4]),
        (sh * by_row, sw * by_pixel, by_group, by_image, dh * by_row, dw * by_pixel, by_channel),
    )


def _matrices(windows: Tensor) -> Tensor:
    """Some rows of windows as X: (rows * W_out * G, N, K), copied into the workspace."""
    copied = workspace(windows, windows.numel()).view(windows.shape).copy_(windows)
    return copied.flatten(4).flatten(0, 2)


def _outputs(y: Tensor, groups: int) -> Tensor:
    """(N, G*C, H_out, W_out) as (H_out, W_out, G, N, C), a view."""
    return y.unflatten(1, (groups, -1)).permute(3, 4, 1, 0, 2)


@operator(
    convolves=True,
    fake=lambda x, weight, geometry: channels_last(
        x, x.shape[0], weight.shape[2] * weight.shape[4], *weight.shape[:2]
    ),
)
def local(x: Tensor, weight: Tensor, geometry: Sequence[int]) -> Tensor:
    """x (N, C_in, H, W), weight (H_out, W_out, G, K, C_out/G) -> y (N, C_out, H_out, W_out)."""
    height, width, groups, size, channels = weight.shape
    shape = Geometry.unflatten(geometry)
    windows = _windows(_padded(x, shape), shape, (height, width))
    y = channels_last(x, len(x), groups * channels, height, width)
    outputs = _outputs(y, groups)
    for rows in _rows(x, width * groups * len(x) * size, height):
        part, left = outputs[rows], _matrices(windows[rows])
        product = workspace(x, part.numel(), "product").view(len(left), len(x), channels)
        torch.bmm(left, weight[rows].flatten(0, 2), out=product)
        part.copy_(product.view(part.shape))
    return y


def _empty_local_input(
    weight: Tensor, g: Tensor, geometry: Sequence[int], image_size: Sequence[int]
) -> Tensor:
    channels = weight.shape[2] * weight.shape[3] // (geometry[0] * geometry[1])
    return channels_last(g, g.shape[0], channels, *image_size)


@operator(fake=_empty_local_input, convolves=True)
def local_input(
    weight: Tensor, g: Tensor, geometry: Sequence[int], image_size: Sequence[int]
) -> Tensor:
    """weight (H_out, W_out, G, K, C_out/G), g (N, C_out, ...) -> x (N, C_in, *image_size)."""
    height, width, groups, size, _ = weight.shape
    shape, n = Geometry.unflatten(geometry), len(g)
    x = _empty_local_input(weight, g, geometry, image_size).zero_()
    y = _outputs(g.contiguous(memory_format=torch.channels_last), groups)
    for rows in _rows(g, width * groups * n * size, height):
        left, right = y[rows].flatten(0, 2), weight[rows].flatten(0, 2).mT
        memory = workspace(g, len(left) * n * size).view(len(left), n, size)
        parts = rows.stop - rows.start, width, groups, n, *shape.kernel_size, x.shape[1] // groups
        windows = torch.bmm(left, right, out=memory).view(parts)
        col2im(windows.permute(3, 2, 6, 4, 5, 0, 1), x, shape, rows.start)
    return x


@operator(
    convolves=True,
    fake=lambda x, g, geometry: x.new_empty(
        g.shape[2], g.shape[3], geometry[-1], prod(geometry[:2]) * x.shape[1] // geometry[-1],
        g.shape[1] // geometry[-1],
    )
)  # fmt: skip
def local_weight(x: Tensor, g: Tensor, geometry: Sequence[int]) -> Tensor:
    """x (N, C_in, H, W), g (N, C_out, H_out, W_out) -> weight (H_out, W_out, G, K, C_out/G)."""
    shape, (height, width) = Geometry.unflatten(geometry), g.shape[2:]
    size = prod(shape.kernel_size) * x.shape[1] // shape.groups
    windows = _windows(_padded(x, shape), shape, (height, width))
    y = _outputs(g.contiguous(memory_format=torch.channels_last), shape.groups)
    weight = x.new_empty(height, width, shape.groups, size, y.shape[4])
    for rows in _rows(x, width * shape.groups * len(x) * size, height):
        left, right = _matrices(windows[rows]), y[rows].flatten(0, 2)
        torch.bmm(left.mT, right, out=weight[rows].flatten(0, 2))
    return weight
