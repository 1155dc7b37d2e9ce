"""The convolution and its two derivatives, closed under differentiation.

A convolution, its gradient by the image and its gradient by the filters are one trilinear form
with one of its three slots left open:

    T(x, w, g) = sum over n, co, ci, p, k of  g[n,co,p] * w[co,ci,k] * x[n,ci, S p + D k - P]

    conv2d(x, w)         leaves g open  ->  (N, C_out, H_out, W_out)
    conv2d_input(w, g)   leaves x open  ->  (N, C_in, H, W)
    conv2d_weight(x, g)  leaves w open  ->  (C_out, C_in/G, K_h, K_w)

The derivative of each by either argument is another of the three (trilinear.py has the table).
The chapter says it in words: "the backward pass for a convolution operation is also a
convolution".  Only x, w and g are ever saved, never the columns; those are made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from . import backends
from .arguments import conv as arguments
from .arguments.pixels import pair
from .autograd import add_bias
from .interop.autocast import autocast
from .interop.function import graph_node
from .interop.memory_format import conv2d_is_channels_last
from .interop.overrides import overridable
from .interop.tracing import image_size
from .ops import conv as ops
from .trilinear import trilinear

Convolution, ConvolutionInput, ConvolutionWeight = trilinear(
    "Convolution", ops.conv2d, ops.conv2d_input, ops.conv2d_weight, groups_at=0
)
_convolution, _convolution_input, _convolution_weight = map(
    graph_node, (Convolution, ConvolutionInput, ConvolutionWeight)
)


@overridable
def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    algorithm: str = "auto",
) -> Tensor:
    """Slide C_out filters over an image: cross-correlation, as every framework's "convolution".

        y[n,co,p] = b[co] + sum over ci, k of  w[co,ci,k] * x[n,ci, S p + D k - P]

    Args:
        input: images, (N, C_in, H, W) or (C_in, H, W), any float or complex dtype, any strides.
        weight: filters, (C_out, C_in/groups, K_h, K_w).
        bias: (C_out), or None.
        stride: pixels from one window to the next.
        padding: zeros added on each side, in pixels; "same" keeps the size, "valid" adds none.
        dilation: pixels from one tap to the next; 1 is an ordinary filter (the chapter's 0).
        groups: filters of a group see only their own C_in/groups channels.
        algorithm: "im2col", "winograd" (3x3 at stride 1; error about 1e-5 in float32), "tf32x3" (on
            a GPU, float32 as three products of tf32; nearly the error of ieee), or "auto" for the
            faster where that was measured: `layers.explain` prints which, and `layers.backends`
            says what it may take.
    Returns:
        (N, C_out, H_out, W_out); H_out = floor((H + 2P - D(K_h - 1) - 1)/S) + 1.
    Raises:
        RuntimeError: shapes that do not fit together, an image smaller than one window, padding
            "same" with a stride.
        ValueError: an algorithm that is unknown, or not for this convolution.
        TypeError: pixels or groups that are not whole numbers.
    Derivatives: all orders, forward mode, vmap.
    Source: the chapter, "Convolutional Layer"; torch.nn.functional.conv2d for the signature.
        Differs: Winograd's algorithm adds and subtracts the 6x6 pixels that a tile of 4x4 outputs
        sees before it multiplies.  So its error goes by the largest of them: a pixel of 1e10 in
        an image of ones leaves outputs that do not see it off by 1e4, in float32; and one NaN or
        infinity makes NaN of all outputs of up to four tiles, 64 pixels where im2col has 9.
    """
    if input.dim() == 3:
        return conv2d(input[None], weight, bias, stride, padding, dilation, groups, algorithm)[0]
    input, weight, bias = autocast(input, weight, bias)  # type: ignore[assignment]
    arguments.check_dimensions(input, weight)
    input, geometry = arguments.padded(input, image_size(weight), stride, padding, dilation, groups)
    arguments.check(input, weight, bias, geometry)
    y = _convolution(input, weight, geometry.flatten(), *_options(input, weight, algorithm))
    return y if bias is None else add_bias(y, bias.view(-1, 1, 1))


@overridable
def conv2d_input(
    input_size: Sequence[int],
    weight: Tensor,
    grad_output: Tensor,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of `conv2d` by its image, (N, C_in, H, W) = input_size; all orders.

        x[n,ci,q] = sum over co and all p, k with S p + D k - P = q of  w[co,ci,k] * g[n,co,p]

    A transposed convolution, hence also the "filter" step of a deconvnet.  Complex filters enter
    conjugated, as in any gradient.  See `conv2d` for the arguments; signature of
    torch.nn.grad.conv2d_input.
    """
    arguments.check_dimensions(grad_output, weight)
    kernel_size = image_size(weight)
    _, geometry = arguments.padded(grad_output, kernel_size, stride, padding, dilation, groups)
    channels = weight.shape[1] * groups
    arguments.same_dtype(grad_output, weight)
    arguments.check_gradient(grad_output, input_size, channels, len(weight), geometry)
    size = pair(tuple(input_size[-2:]), "input_size")
    options = _options(weight, weight)  # torch asks the filters alone
    return _convolution_input(weight.conj(), grad_output, geometry.flatten(), size, *options)


@overridable
def conv2d_weight(
    input: Tensor,
    weight_size: Sequence[int],
    grad_output: Tensor,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """The gradient of `conv2d` by its filters, (C_out, C_in/G, K_h, K_w) = weight_size; all orders.

        w[co,ci,k] = sum over n, p of  g[n,co,p] * x[n,ci, S p + D k - P]

    Complex images enter conjugated.  See `conv2d` for the arguments; signature of
    torch.nn.grad.conv2d_weight.
    """
    kernel_size = pair(tuple(weight_size[2:]), "weight_size")
    input, geometry = arguments.padded(input, kernel_size, stride, padding, dilation, groups)
    channels = weight_size[1] * groups
    arguments.same_dtype(grad_output, input)
    arguments.check_gradient(grad_output, input.shape, channels, weight_size[0], geometry)
    options = _options(input, input)  # torch asks the image alone
    return _convolution_weight(input.conj(), grad_output, geometry.flatten(), *options)


class Conv2d(torch.nn.Conv2d):
    """torch.nn.Conv2d computed by our `conv2d`: same arguments, parameters and keys.

    One argument more, by keyword: `algorithm`, see `conv2d`.
    """

    algorithm: str = "auto"  # of the class, for a torch.nn.Conv2d that was made one of ours

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: str | int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros",
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        algorithm: str = "auto",
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip
        self.algorithm = algorithm

    def forward(self, input: Tensor) -> Tensor:
        padding: str | int | Sequence[int] = self.padding
        if self.padding_mode != "zeros":
            # torch keeps the pads of the last axis first, the order F.pad takes
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            padding = 0
        return conv2d(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups,
            self.algorithm,
        )  # fmt: skip


def _options(a: Tensor, b: Tensor, algorithm: str = "auto") -> tuple[bool, str, bool]:
    """What is fixed in forward for all derivatives: (channels_last, algorithm, kernels).

    Raises:
        ValueError: an unknown algorithm.
    """
    arguments.check_algorithm(algorithm)
    if algorithm == "auto" and backends.tf32x3.enabled and a.is_cuda:
        algorithm = "allow_tf32x3"
    elif algorithm == "auto" and not backends.winograd.enabled:
        algorithm = "im2col"
    return conv2d_is_channels_last(a, b), algorithm, backends.kernels.enabled
