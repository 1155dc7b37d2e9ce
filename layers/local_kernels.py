"""The locally connected trio: at every position p a product of its own, some positions at a time.

    local          Y[p] = X[p] @ W[p]          [N x K] @ [K x C_out/G]
    local_input    X[p] = Y[p] @ W[p]^T        then added back to the pixels
    local_weight   W[p] = X[p]^T @ Y[p]

X[p] is the window at p of every image, a row each.  Positions are taken some rows of the output at
a time, so that the windows fit a cache, by each thread its own.  Derivatives are in
locally_connected.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from .geometry import Geometry
from .operator import operator
from .threads import side_by_side, threads
from .workspace import workspace_bytes


def _rows(like: Tensor, row_size: int, height: int) -> list[slice]:
    """Rows of the output, as many at a time as fit a thread's part of the workspace."""
    share = workspace_bytes(like) // (1 if like.is_cuda else threads())
    step = max(1, share // max(1, row_size * like.element_size()))
    return [slice(start, min(start + step, height)) for start in range(0, height, step)]


def _padded(x: Tensor, geometry: Geometry) -> Tensor:
    """(N, C, H, W) as (N, H + 2P, W + 2P, G, C/G), zeros around it."""
    (ph, pw), (n, channels, height, width) = geometry.padding, x.shape
    padded = x.new_zeros(n, height + 2 * ph, width + 2 * pw, channels)
    padded[:, ph : ph + height, pw : pw + width] = x.permute(0, 2, 3, 1)
    return padded.unflatten(3, (geometry.groups, -1))


def _windows(padded: Tensor, geometry: Geometry, outputs: Sequence[int]) -> Tensor:
    """(H_out, W_out, G, N, K_h, K_w, C/G): every window, as a view."""
    by_image, by_row, by_pixel, by_group, by_channel = padded.stride()
    (kh, kw), (sh, sw), _, (dh, dw), groups = geometry
    return padded.as_strided(
        (*outputs, groups, padded.shape[0], kh, kw, padded.shape[4]),
        (sh * by_row, sw * by_pixel, by_group, by_image, dh * by_row, dw * by_pixel, by_channel),
    )


def _matrices(windows: Tensor) -> Tensor:
    """Some rows of windows as X: (rows * W_out * G, N, K), copied."""
    return windows.flatten(4).flatten(0, 2)


def _outputs(y: Tensor, groups: int) -> Tensor:
    """(N, G*C, H_out, W_out) as (H_out, W_out, G, N, C), a view."""
    return y.unflatten(1, (groups, -1)).permute(3, 4, 1, 0, 2)


@operator(
    fake=lambda x, weight, geometry: x.new_empty(
        x.shape[0], weight.shape[2] * weight.shape[4], *weight.shape[:2]
    )
)
def local(x: Tensor, weight: Tensor, geometry: Sequence[int]) -> Tensor:
    """x (N, C_in, H, W), weight (H_out, W_out, G, K, C_out/G) -> y (N, C_out, H_out, W_out)."""
    height, width, groups, size, channels = weight.shape
    shape = Geometry.unflatten(geometry)
    windows = _windows(_padded(x, shape), shape, (height, width))
    y = x.new_empty(len(x), groups * channels, height, width)
    out = _outputs(y, groups)

    def multiply(rows: slice) -> None:
        product = torch.bmm(_matrices(windows[rows]), weight[rows].flatten(0, 2))
        out[rows] = product.view(out[rows].shape)

    side_by_side(multiply, _rows(x, width * groups * len(x) * size, height), x)
    return y


def _empty_local_input(
    weight: Tensor, g: Tensor, geometry: Sequence[int], image_size: Sequence[int]
) -> Tensor:
    channels = weight.shape[2] * weight.shape[3] // (geometry[0] * geometry[1])
    return g.new_empty(g.shape[0], *image_size, channels).permute(0, 3, 1, 2)


@operator(fake=_empty_local_input)
def local_input(
    weight: Tensor, g: Tensor, geometry: Sequence[int], image_size: Sequence[int]
) -> Tensor:
    """weight (H_out, W_out, G, K, C_out/G), g (N, C_out, ...) -> x (N, C_in, *image_size)."""
    height, width, groups, size, _ = weight.shape
    shape, n = Geometry.unflatten(geometry), len(g)
    kh, kw = shape.kernel_size
    x = g.new_zeros(n, *image_size, groups, size // (kh * kw)).permute(0, 3, 4, 1, 2)
    y = _outputs(g, groups)
    for rows in _rows(g, width * groups * n * size, height):
        count = rows.stop - rows.start
        product = torch.bmm(y[rows].flatten(0, 2), weight[rows].flatten(0, 2).mT)
        windows = product.view(count, width, groups, n, kh, kw, size // (kh * kw))
        windows = windows.permute(3, 2, 6, 4, 5, 0, 1)
        part = shape.first_row(rows.start)  # these rows as a picture of their own
        for tap in part.taps(image_size, (count, width)):
            x[tap.pixels] += windows[:, :, :, tap.row, tap.column][tap.outputs]
    return x.flatten(1, 2)


@operator(
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
    y = _outputs(g, shape.groups)
    weight = x.new_empty(height, width, shape.groups, size, y.shape[4])

    def multiply(rows: slice) -> None:
        left, right = _matrices(windows[rows]), y[rows].flatten(0, 2)
        torch.bmm(left.mT, right, out=weight[rows].flatten(0, 2))

    side_by_side(multiply, _rows(x, width * shape.groups * len(x) * size, height), x)
    return weight
