"""Max-pooling through its switches, and average pooling.

The chapter: "during the forward pass of a pooling layer it is common to keep track of the index
of the max activation (sometimes also called the switches) so that gradient routing is efficient
during backpropagation".  At fixed switches max-pooling is linear: `Take` gathers the winners,
`Put` adds values back at the winners' places, and each is the other's derivative.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from .autograd import Adjoint, PerImage
from .kernels import max_pool as kernels
from .kernels.window_sum import window_spread, window_sum
from .ops.geometry import Geometry, Pair, as_int, pair
from .ops.legacy import image_size, refuse_complex, require_float, upcast
from .overrides import overridable


class MaxPool(PerImage):
    """(y, switches) = max_pool2d(x):  dx = put(dy, switches)."""

    @staticmethod
    def forward(x: Tensor, geometry: Geometry, image_size: Pair, output_size: Pair) -> tuple:
        return kernels.max_pool2d(x, geometry.flatten(), output_size)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        _, *ctx.sizes = inputs
        _, switches = output
        ctx.mark_non_differentiable(switches)
        ctx.set_materialize_grads(False)  # no zeros in place of the switches' gradient
        ctx.save_for_backward(switches)
        ctx.save_for_forward(switches)

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, _: None) -> tuple:
        dx = None if dy is None else Put.apply(dy, *ctx.saved_tensors, *ctx.sizes)
        return dx, None, None, None

    @staticmethod
    def jvp(ctx: Any, x_t: Tensor, *_: None) -> tuple:
        return Take.apply(x_t, *ctx.saved_tensors, *ctx.sizes), None


class Take(Adjoint):
    """y[p] = x[the pixel p's switch names]."""

    @staticmethod
    def forward(
        x: Tensor, switches: Tensor, geometry: Geometry, image_size: Pair, output_size: Pair
    ) -> Tensor:
        return kernels.take(x, switches, geometry.flatten())


class Put(Adjoint):
    """x[the pixel p's switch names] += y[p]."""

    @staticmethod
    def forward(
        y: Tensor, switches: Tensor, geometry: Geometry, image_size: Pair, output_size: Pair
    ) -> Tensor:
        return kernels.put(y, switches, geometry.flatten(), image_size)


class WindowSum(Adjoint):
    """y[p] = sum over the taps k of  x[S p + D k - P]."""

    @staticmethod
    def forward(x: Tensor, geometry: Geometry, image_size: Pair, output_size: Pair) -> Tensor:
        return window_sum(x, geometry.flatten(), output_size)


class WindowSpread(Adjoint):
    """x[S p + D k - P] += y[p]."""

    @staticmethod
    def forward(y: Tensor, geometry: Geometry, image_size: Pair, output_size: Pair) -> Tensor:
        return window_spread(y, geometry.flatten(), image_size)


Take.TRANSPOSE, Put.TRANSPOSE = Put, Take
WindowSum.TRANSPOSE, WindowSpread.TRANSPOSE = WindowSpread, WindowSum


@torch.compiler.allow_in_graph
def _max_pool(x: Tensor, geometry: Any, image_size: Any, output_size: Any) -> tuple:
    return MaxPool.apply(x, Geometry(*geometry), image_size, output_size)


@torch.compiler.allow_in_graph
def _window_sum(x: Tensor, geometry: Any, image_size: Any, output_size: Any) -> Tensor:
    return WindowSum.apply(x, Geometry(*geometry), image_size, output_size)


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
    check(input)
    refuse_complex("max_pool2d", input)
    if input.dtype == torch.bool:
        raise NotImplementedError("max_pool2d compares numbers, got torch.bool")
    size = image_size(input)
    return _max_pool(input, geometry, size, geometry.output_size(size, ceil_mode))


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
    return y, indices_of(switches, geometry, input.shape[-1])


def indices_of(switches: Tensor, geometry: Geometry, width: int) -> Tensor:
    """Where in an image `width` pixels wide the switches point: row * width + column, int64."""
    rows, columns = kernels.pixels_of(switches, geometry)
    return rows * width + columns


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
    check(input)
    if input.dtype != torch.int64:
        require_float("avg_pool2d", input)
    size = image_size(input)
    output_size = geometry.output_size(size, ceil_mode)
    total = _window_sum(upcast(input), geometry, size, output_size)
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


class MaxPool2d(torch.nn.MaxPool2d):
    """torch.nn.MaxPool2d computed by our `max_pool2d`."""

    def forward(self, input: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return max_pool2d(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode,
            self.return_indices,
        )  # fmt: skip


class AvgPool2d(torch.nn.AvgPool2d):
    """torch.nn.AvgPool2d computed by our `avg_pool2d`."""

    def forward(self, input: Tensor) -> Tensor:
        return avg_pool2d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad, self.divisor_override,
        )  # fmt: skip


def check(x: Tensor) -> None:
    if x.dim() != 4:
        raise RuntimeError(f"pooling needs images (N, C, H, W) or (C, H, W), got {tuple(x.shape)}")
    if 0 in x.shape[1:]:
        raise RuntimeError(f"only the batch may be empty, got images {tuple(x.shape)}")


def pooling_geometry(
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None,
    padding: int | Sequence[int],
    dilation: int | Sequence[int],
) -> Geometry:
    kernel = pair(kernel_size, "kernel_size")
    if stride is None or (isinstance(stride, (tuple, list)) and not stride):
        stride = kernel
    geometry = Geometry(
        kernel, pair(stride, "stride"),
        pair(padding, "padding"), pair(dilation, "dilation"),
    )  # fmt: skip
    if min(geometry.kernel_size + geometry.stride + geometry.dilation) < 1:
        raise RuntimeError(f"kernel, stride and dilation must be at least 1, got {geometry}")
    if any(not 0 <= p <= k // 2 for p, k in zip(geometry.padding, kernel, strict=True)):
        raise RuntimeError(
            f"padding must be between 0 and half the kernel: {geometry.padding} for {kernel}"
        )
    return geometry
