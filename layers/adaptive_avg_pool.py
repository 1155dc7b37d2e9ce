"""Average pooling to a given size, global pooling among it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .arguments.dtypes import require_float
from .arguments.pooling import adaptive_size
from .avg_pool import avg_pool2d
from .interop.memory_format import as_channels_last, as_contiguous, is_channels_last
from .interop.overrides import overridable
from .ops.dtypes import upcast


@overridable
def adaptive_avg_pool2d(input: Tensor, output_size: int | Sequence[int | None] | None) -> Tensor:
    """The mean of windows that cover the image evenly, as many as asked.

        y[n,c,i,j] = mean of x[n,c,r,q] over floor(i H/H_out) <= r < ceil((i+1) H/H_out),
                                        floor(j W/W_out) <= q < ceil((j+1) W/W_out)

    Taken along one axis after the other.

    Args:
        input: images, (N, C, H, W) or (C, H, W), any float dtype.
        output_size: (H_out, W_out), or one number for both; None keeps a size; 1 is global
            average pooling.
    Returns:
        (N, C, H_out, W_out).
    Raises:
        RuntimeError: a size below 0, or more or less than two of them; an input that is no image,
            or has no pixels.
        TypeError: a size that is no whole number.
        NotImplementedError: dtypes other than float, as in torch.
    Derivatives: all orders, forward mode, vmap.
    Source: torch.nn.functional.adaptive_avg_pool2d; global: Szegedy et al. 2014, section 5.
    """
    height, width = adaptive_size(input, output_size)
    last = is_channels_last(input)
    if height == width == 1:
        if last:  # as (N, H, W, C), of one pixel
            return input.mean((-2, -1))[:, None, None].permute(0, 3, 1, 2)
        return input.mean((-2, -1), keepdim=True)
    require_float("adaptive_avg_pool2d", input)
    if 0 in input.shape[-2:]:
        raise RuntimeError(f"images must have pixels, got {tuple(input.shape)}")
    if height == 0 or width == 0:  # no windows
        y = input.sum((-2, -1), keepdim=True).expand(*input.shape[:-2], height, width)
        return as_channels_last(y) if last else as_contiguous(y)
    grid = input.shape[-2] % height == input.shape[-1] % width == 0  # windows of one size
    if grid and input.shape[-3] > 0:
        return avg_pool2d(input, (input.shape[-2] // height, input.shape[-1] // width))
    # Channels last, the means are taken of (N, H, W, C), so that they and their gradients are, too.
    x = upcast(input.permute(0, 2, 3, 1) if last else input)
    rows, columns = (-3, -2) if last else (-2, -1)
    y = _means(_means(x, rows, height), columns, width)
    return (y.permute(0, 3, 1, 2) if last else y).to(input.dtype)


def _means(x: Tensor, axis: int, outputs: int) -> Tensor:
    """The mean of every window along one axis."""
    length = x.shape[axis]
    windows = ((i * length // outputs, -(-(i + 1) * length // outputs)) for i in range(outputs))
    return torch.stack([x.narrow(axis, a, b - a).mean(axis) for a, b in windows], axis)


class AdaptiveAvgPool2d(torch.nn.AdaptiveAvgPool2d):
    """torch.nn.AdaptiveAvgPool2d computed by our `adaptive_avg_pool2d`."""

    output_size: int | Sequence[int | None] | None  # type: ignore[assignment]

    def forward(self, input: Tensor) -> Tensor:
        return adaptive_avg_pool2d(input, self.output_size)
