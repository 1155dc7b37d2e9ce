"""Average pooling: the sum over every window, divided by how many pixels it has."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

from . import backends
from .arguments.dtypes import require_float
from .arguments.pixels import as_int
from .arguments.pooling import check_images, pooling_geometry
from .autograd import adjoint_pair
from .interop.function import graph_node
from .interop.memory_format import is_channels_last
from .interop.overrides import overridable
from .interop.tracing import image_size
from .ops import pool as ops
from .ops.dtypes import upcast

WindowSum, WindowSumBackward = adjoint_pair("WindowSum", ops.window_sum, ops.window_sum_backward)
_window_sum = graph_node(WindowSum)


@overridable
def avg_pool2d(
    input: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of every window:  y[n,c,p] = (sum over the taps k of x[n,c, S p + k - P]) / divisor.

    Args:
        input: images, (N, C, H, W) or (C, H, W), any float dtype, or int64, whose means are
            rounded towards zero.
        kernel_size, stride, padding: pixels, one number or (height, width); stride defaults to
            kernel_size; padding is zeros, at most half the kernel.
        ceil_mode: round the number of windows up, so that the last may hang over the border.
        count_include_pad: whether the divisor counts padded zeros; pixels beyond the padding
            never count.
        divisor_override: the divisor itself, instead of the number of pixels in the window.
    Returns:
        (N, C, H_out, W_out).
    Raises:
        RuntimeError: an image smaller than one window, padding of more than half a window, a
            zero divisor.
        NotImplementedError: other dtypes, as in torch.
    Derivatives: all orders, forward mode, vmap.
    Source: the chapter, "General pooling".
    """
    if input.dim() == 3:
        return avg_pool2d(
            input[None], kernel_size, stride, padding, ceil_mode, count_include_pad,
            divisor_override,
        )[0]  # fmt: skip
    if divisor_override is not None and as_int(divisor_override, "divisor_override") == 0:
        raise RuntimeError("divisor_override must not be zero")
    geometry = pooling_geometry(kernel_size, stride, padding, 1)
    check_images(input)
    if input.dtype != torch.int64:
        require_float("avg_pool2d", input)
    size = image_size(input)
    output_size = geometry.output_size(size, ceil_mode)
    options = is_channels_last(input), backends.kernels.enabled
    total = _window_sum(upcast(input), geometry.flatten(), output_size, *options)
    if divisor_override is not None:
        return _quotient(total, divisor_override).to(input.dtype)
    rows, columns = (
        geometry.pixels_per_window(axis, size[axis], output_size[axis], count_include_pad)
        for axis in (0, 1)
    )
    if len({*rows}) == len({*columns}) == 1:  # every window is whole
        return _quotient(total, rows[0] * columns[0]).to(input.dtype)
    area = _on_device(rows, total)[:, None] * _on_device(columns, total)
    return _quotient(total, area).to(input.dtype)


def _quotient(total: Tensor, divisor: Tensor | int) -> Tensor:
    return torch.div(total, divisor, rounding_mode=None if total.is_floating_point() else "trunc")


def _on_device(counts: Sequence[int], like: Tensor) -> Tensor:
    """A few different numbers as a vector, run by run: a transfer would stall a GPU.

    Nothing is written in place: `torch.func.linearize` would take the empty vector for a constant.
    """
    runs = [(number, len(list(run))) for number, run in groupby(counts)]
    return torch.cat([like.new_full((length,), number) for number, length in runs])


class AvgPool2d(torch.nn.AvgPool2d):
    """torch.nn.AvgPool2d computed by our `avg_pool2d`."""

    def forward(self, input: Tensor) -> Tensor:
        return avg_pool2d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad, self.divisor_override,
        )  # fmt: skip
