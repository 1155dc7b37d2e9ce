"""Max-pooling through its switches.

The chapter: "during the forward pass of a pooling layer it is common to keep track of the index
of the max activation (sometimes also called the switches) so that gradient routing is efficient
during backpropagation".  At fixed switches max-pooling is linear: it gathers the winners.  Its
backward adds values back at the winners' places, and each is the other's derivative.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import backends
from .arguments.dtypes import refuse_unordered
from .arguments.pooling import check_images, pooling_geometry
from .autograd import PerImage, adjoint_pair
from .interop.function import graph_node
from .interop.memory_format import is_channels_last
from .interop.overrides import overridable
from .interop.tracing import image_size
from .ops import pool as ops
from .ops.geometry import Geometry

MaxPoolGather, MaxPoolBackward = adjoint_pair(
    "MaxPoolGather", ops.max_pool2d_gather, ops.max_pool2d_backward
)


class MaxPool(PerImage):
    """(y, switches) = max_pool2d(x):  dx = max_pool2d_backward(dy, switches)."""

    forward = staticmethod(ops.max_pool2d)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        x, ctx.geometry, ctx.output_size, *ctx.options = inputs
        ctx.image_size = image_size(x)
        _, switches = output
        ctx.mark_non_differentiable(switches)
        ctx.set_materialize_grads(False)  # no zeros in place of the switches' gradient
        ctx.save_for_backward(switches)
        ctx.save_for_forward(switches)

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, _: None) -> tuple:
        if dy is None:
            return (None,) * 5
        constants = *ctx.saved_tensors, ctx.geometry, ctx.image_size, *ctx.options
        return MaxPoolBackward.apply(dy, *constants), *[None] * 4

    @staticmethod
    def jvp(ctx: Any, x_t: Tensor, *_: None) -> tuple:
        constants = *ctx.saved_tensors, ctx.geometry, ctx.output_size, *ctx.options
        return MaxPoolGather.apply(x_t, *constants), None


_max_pool = graph_node(MaxPool)


@overridable
def max_pool2d_with_switches(
    input: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> tuple[Tensor, Tensor]:
    """The largest value of every window, and where in the window it stood.

        y[n,c,p] = max over the taps k of  x[n,c, S p + D k - P]

    Args:
        input: images, (N, C, H, W) or (C, H, W), any float or integer dtype.
        kernel_size, stride, padding, dilation: pixels, one number or (height, width); stride
            defaults to kernel_size; padding is -inf and at most half the kernel.
        ceil_mode: round the number of windows up, so that the last may hang over the border.
    Returns:
        y and switches, both (N, C, H_out, W_out).  A switch is i*K_w + j, the winner's place in
        its window, in one byte (four for windows of more than 256 pixels).  The first maximum
        wins; NaN beats everything, as in torch.
    Raises:
        RuntimeError: an image smaller than one window, padding of more than half a window.
        NotImplementedError: complex numbers or bool, as in torch.
    Derivatives: all orders, forward mode, vmap; `switches` is not differentiable.
    Source: the chapter, "Pooling Layer"; Zeiler & Fergus 2013, section 2.1, for the switches.
    """
    if input.dim() == 3:
        y, switches = max_pool2d_with_switches(
            input[None], kernel_size, stride, padding, dilation, ceil_mode
        )
        return y[0], switches[0]
    geometry = pooling_geometry(kernel_size, stride, padding, dilation)
    check_images(input)
    refuse_unordered("max_pool2d", input)
    size = geometry.output_size(image_size(input), ceil_mode)
    options = is_channels_last(input), backends.kernels.enabled
    return _max_pool(input, geometry.flatten(), size, *options)


@overridable
def max_pool2d(
    input: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The largest value of every window; see `max_pool2d_with_switches`.

    With `return_indices`, also torch's int64 indices row * W + column of the winners in their
    images, computed from the switches.
    """
    y, switches = max_pool2d_with_switches(input, kernel_size, stride, padding, dilation, ceil_mode)
    if not return_indices:
        return y
    geometry = pooling_geometry(kernel_size, stride, padding, dilation)
    rows, columns = switched_pixels(switches, geometry)
    return y, rows * input.shape[-1] + columns


def switched_pixels(switches: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """The rows and the columns of the pixels that the switches point at, int64."""
    (_, kw), (sh, sw), (ph, pw), (dh, dw), _ = geometry
    (height, width), device = switches.shape[-2:], switches.device
    number = switches.long()
    rows = torch.arange(height, device=device)[:, None] * sh - ph
    columns = torch.arange(width, device=device) * sw - pw
    return rows + number // kw * dh, columns + number % kw * dw


class MaxPool2d(torch.nn.MaxPool2d):
    """torch.nn.MaxPool2d computed by our `max_pool2d`."""

    def forward(self, input: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return max_pool2d(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode,
            self.return_indices,
        )  # fmt: skip
