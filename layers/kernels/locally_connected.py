"""The locally connected trio: at every position p a product of its own, some positions at a time.

    locally_connected2d          Y[p] = X[p] @ W[p]          [N x K] @ [K x C_out/G]
    locally_connected2d_input    X[p] = Y[p] @ W[p]^T        then added back to the pixels
    locally_connected2d_weight   W[p] = X[p]^T @ Y[p]

X[p] is the window at p of every image, a row each; Y[p] are the outputs at p.  Positions are taken
some rows of the output at a time, so that the windows fit a cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..interop.dry_run import few
from ..ops.dtypes import upcast_dtype
from ..ops.geometry import Geometry, Pair
from ..ops.registry import Kernel
from .conv_im2col import accumulator
from .im2col import Im2col, col2im, col2im_by_taps
from .jit import why_not_jit
from .workspace import workspace, workspace_bytes


def locally_connected2d(
    x: Tensor, weight: Tensor, geometry: Geometry, channels_last: bool, y: Tensor
) -> None:
    height, width, groups, size, channels = weight.shape
    windows = _windows(_padded(x, geometry), geometry, (height, width))
    outputs = _outputs(y, groups)
    for rows in _rows(x, width * groups * len(x) * size, height):
        part, left = outputs[rows], _matrices(windows[rows])
        product = workspace(x, part.numel(), "product").view(len(left), len(x), channels)
        torch.bmm(left, weight[rows].flatten(0, 2), out=product)
        part.copy_(product.view(part.shape))


def locally_connected2d_input(
    add_columns: Callable[..., None],
    weight: Tensor,
    g: Tensor,
    geometry: Geometry,
    image_size: Pair,
    channels_last: bool,
    x: Tensor,
) -> None:
    """
    Args:
        add_columns: a way to compute `col2im`.
    """
    height, width, groups, size, _ = weight.shape
    n, y = len(g), _outputs(g.contiguous(memory_format=torch.channels_last), groups)
    in_place = channels_last and x.dtype == upcast_dtype(x)
    total = (x if in_place else accumulator(x, channels_last=True)).zero_()
    for rows in _rows(g, width * groups * n * size, height):
        left, right = y[rows].flatten(0, 2), weight[rows].flatten(0, 2).mT
        memory = workspace(g, len(left) * n * size).view(len(left), n, size)
        parts = (
            rows.stop - rows.start,
            width,
            groups,
            n,
            *geometry.kernel_size,
            x.shape[1] // groups,
        )
        windows = torch.bmm(left, right, out=memory).view(parts)
        add_columns(windows.permute(3, 2, 6, 4, 5, 0, 1), total, geometry, rows.start)
    if not in_place:
        x.copy_(total)


def locally_connected2d_weight(
    x: Tensor, g: Tensor, geometry: Geometry, channels_last: bool, weight: Tensor
) -> None:
    height, width, groups, size, _ = weight.shape
    windows = _windows(_padded(x, geometry), geometry, (height, width))
    y = _outputs(g.contiguous(memory_format=torch.channels_last), groups)
    for rows in _rows(x, width * groups * len(x) * size, height):
        left, right = _matrices(windows[rows]), y[rows].flatten(0, 2)
        torch.bmm(left.mT, right, out=weight[rows].flatten(0, 2))


def _rows(like: Tensor, row_size: int, height: int) -> Iterator[slice]:
    """Rows of the output, as many at a time as fit the workspace."""
    step = max(1, workspace_bytes(like) // max(1, row_size * like.element_size()))
    for start in few(range(0, height, step)):
        yield slice(start, min(start + step, height))


def _padded(x: Tensor, geometry: Geometry) -> Tensor:
    """(N, C, H, W) as (N, H + 2P, W + 2P, G, C/G), zeros around it."""
    pixels = Im2col(x.shape[2:], x.shape[1], geometry).padded(x).permute(0, 2, 3, 1)
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


def _supports(*inputs: Any) -> None:
    return None


def _supports_loops(weight: Tensor, g: Tensor, *others: Any) -> str | None:
    return why_not_jit(g)


LOCALLY_CONNECTED2D = Kernel("matmul", locally_connected2d, _supports)
LOCALLY_CONNECTED2D_INPUT = Kernel(
    "matmul", partial(locally_connected2d_input, col2im), _supports_loops
)
LOCALLY_CONNECTED2D_INPUT_BY_TAPS = Kernel(
    "matmul_by_taps", partial(locally_connected2d_input, col2im_by_taps), _supports
)
LOCALLY_CONNECTED2D_WEIGHT = Kernel("matmul", locally_connected2d_weight, _supports)
