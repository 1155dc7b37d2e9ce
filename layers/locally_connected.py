"""The locally connected layer: a convolution whose weights are not shared between positions.

The chapter: "it is common to relax the parameter sharing scheme, and instead simply call the layer
a locally-connected layer".  The trilinear form of conv.py, with a position p more in the weights:

    T(x, w, g) = sum over n, co, ci, p, k of  g[n,co,p] * w[p,ci,k,co] * x[n,ci, S p + D k - P]

At every position it is a small product of its own, [N x K] @ [K x C_out], K = C_in/G * K_h * K_w;
the weights are stored so that those products read them once and in order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from . import backends
from .arguments import locally_connected as arguments
from .arguments.conv import padded
from .arguments.pixels import as_int, pair, pixels
from .autograd import add_bias
from .interop.autocast import autocast
from .interop.function import graph_node
from .interop.memory_format import is_channels_last
from .interop.overrides import overridable
from .ops import locally_connected as ops
from .ops.geometry import Geometry, Pair
from .trilinear import trilinear

LocallyConnected, LocallyConnectedInput, LocallyConnectedWeight = trilinear(
    "LocallyConnected",
    ops.locally_connected2d,
    ops.locally_connected2d_input,
    ops.locally_connected2d_weight,
    groups_at=2,
)
_locally_connected = graph_node(LocallyConnected)


@overridable
def locally_connected2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """A convolution with weights and biases of its own at every position.

        y[n,co,p] = b[co,p] + sum over ci, k of  w[p,ci,k,co] * x[n,ci, S p + D k - P]

    Args:
        input: images, (N, C_in, H, W) or (C_in, H, W), any float or complex dtype.
        weight: (H_out, W_out, groups, K, C_out/groups), K = C_in/groups * K_h * K_w in the order
            (K_h, K_w, channel).
        bias: (C_out, H_out, W_out), or None.
        kernel_size, stride, padding, dilation: pixels, as in `conv2d`.
    Returns:
        (N, C_out, H_out, W_out).
    Raises:
        RuntimeError: shapes that do not fit together.
        TypeError: pixels that are not whole numbers.
    Derivatives: all orders, forward mode, vmap.
    Source: the chapter, "Parameter Sharing"; Taigman et al. 2014, section 3.2, for a network.
    """
    if input.dim() == 3:
        return locally_connected2d(
            input[None], weight, bias, kernel_size, stride, padding, dilation
        )[0]
    input, weight, bias = autocast(input, weight, bias)  # type: ignore[assignment]
    arguments.check_dimensions(input, weight)
    kernel_size, groups = pair(kernel_size, "kernel_size"), int(weight.shape[2])
    input, geometry = padded(input, kernel_size, stride, padding, dilation, groups)
    arguments.check(input, weight, bias, geometry)
    options = is_channels_last(input), backends.kernels.enabled
    y = _locally_connected(input, weight, geometry.flatten(), *options)
    return y if bias is None else add_bias(y, bias)


class LocallyConnected2d(torch.nn.Module):
    """A layer of `locally_connected2d`; torch.nn has no twin.

    Args:
        in_channels, out_channels: C_in and C_out.
        image_size: (H, W) of the input, on which the number of weights depends.
        kernel_size, stride, padding, dilation, groups, bias, device, dtype: as in `Conv2d`.
    Raises:
        ValueError: as torch.nn.Conv2d: groups that do not divide the channels, or a padding in
            words that is neither "same", at stride 1, nor "valid".

    Initialised like torch.nn.Conv2d: uniform in +-1/sqrt(fan-in).
    """

    _named_padding: str | None = None  # "same" or "valid"; `geometry` has the pixels

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        image_size: int | Sequence[int],
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: str | int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        groups = as_int(groups, "groups")
        arguments.check_groups(in_channels, out_channels, groups)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.image_size = pair(image_size, "image_size")
        kernel_size = pair(kernel_size, "kernel_size")
        stride, dilation = pair(stride, "stride"), pair(dilation, "dilation")
        if isinstance(padding, str):
            self._named_padding = padding
        padding, (below, right) = pixels(padding, kernel_size, stride, dilation, ValueError)
        self.geometry = Geometry(kernel_size, stride, padding, dilation, groups)
        self.geometry.check()
        (height, width), placed = self.image_size, dict(device=device, dtype=dtype)
        height, width = self.geometry.output_size((height + below, width + right))
        fan_in = in_channels // groups * math.prod(kernel_size)
        self.weight = torch.nn.Parameter(
            torch.empty(height, width, groups, fan_in, out_channels // groups, **placed)
        )
        if bias:
            self.bias = torch.nn.Parameter(torch.empty(out_channels, height, width, **placed))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for parameter in self.parameters():
            bound = 1 / math.sqrt(max(1, self.weight.shape[3]))
            torch.nn.init.uniform_(parameter, -bound, bound)

    @classmethod
    def from_conv(
        cls, conv: torch.nn.Conv2d, image_size: int | Sequence[int]
    ) -> LocallyConnected2d:
        """The layer that computes what `conv` does, its filters repeated at every position."""
        if conv.padding_mode != "zeros":
            raise ValueError(f"from_conv needs zero padding, got {conv.padding_mode}")
        layer = cls(
            conv.in_channels, conv.out_channels, image_size, conv.kernel_size, conv.stride,
            conv.padding, conv.dilation, conv.groups, conv.bias is not None, conv.weight.device,
            conv.weight.dtype,
        )  # fmt: skip
        with torch.no_grad():
            filters = conv.weight.permute(0, 2, 3, 1).reshape(
                conv.groups, -1, layer.weight.shape[3]
            )
            layer.weight.copy_(filters.mT.expand_as(layer.weight))
            if conv.bias is not None:
                layer.bias.copy_(conv.bias[:, None, None].expand_as(layer.bias))
        return layer

    def to_jax(self) -> Tensor:
        """The weights as jax.lax.conv_general_dilated_local takes them, for one group.

        (H_out, W_out, C_in*K_h*K_w, C_out); there the channel comes first in a window, here last.
        """
        arguments.one_group(self.geometry)
        windows = self.weight.detach()[:, :, 0].unflatten(2, (*self.geometry.kernel_size, -1))
        return windows.permute(0, 1, 4, 2, 3, 5).flatten(2, 4)

    def load_jax(self, kernel: Tensor) -> None:
        """The inverse of `to_jax`."""
        height, width, _, size, channels = self.weight.shape
        arguments.one_group(self.geometry)
        arguments.check_jax(kernel, (height, width, size, channels))
        windows = kernel.unflatten(2, (self.in_channels, *self.geometry.kernel_size))
        with torch.no_grad():
            self.weight[:, :, 0] = windows.permute(0, 1, 3, 4, 2, 5).flatten(2, 4)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LocallyConnected2d:
        """Also what `to(memory_format=torch.channels_last)` goes through.

        That is for volumes, but torch tries it on whatever has four dimensions or five.  The
        weights are no volume, and are shown as matrices.
        """

        def apply(t: Tensor) -> Tensor:
            return fn(t.flatten(0, 2)).unflatten(0, t.shape[:3]) if t.dim() == 5 else fn(t)

        return super()._apply(apply, recurse)

    @property
    def padding(self) -> str | Pair:
        """As it was given: in words, or pixels."""
        return self._named_padding or self.geometry.padding

    def forward(self, input: Tensor) -> Tensor:
        kernel_size, stride, _, dilation, _ = self.geometry
        return locally_connected2d(
            input, self.weight, self.bias, kernel_size, stride, self.padding, dilation
        )

    def extra_repr(self) -> str:
        kernel_size, stride, _, dilation, groups = self.geometry
        return (
            f"{self.in_channels}, {self.out_channels}, image_size={self.image_size}, "
            f"kernel_size={kernel_size}, stride={stride}, padding={self.padding}, "
            f"dilation={dilation}, groups={groups}, bias={self.bias is not None}"
        )
