"""Unpooling: values go back to where their maximum was found.

Zeiler & Fergus 2013, section 2.1: the first step of a deconvnet.  Where pooling windows overlap, a
pixel may have won several of them; here it receives the sum of their values, so that unpooling is
the exact transpose of pooling.  torch.nn.functional.max_unpool2d keeps one of them and drops the
rest.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .arguments.dtypes import require_float
from .arguments.pixels import pair
from .arguments.pooling import check_images, check_indices, unpooled_size
from .interop.autocast import autocast_float32
from .interop.memory_format import as_channels_last, is_channels_last
from .interop.overrides import overridable
from .interop.tracing import image_size
from .max_pool import switched_pixels
from .ops.geometry import Geometry
from .ops.pool import switch_dtype


@overridable
def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """x[n,c, the pixel that p's index names] += y[n,c,p], zero elsewhere.

    Args:
        input: pooled values y, (N, C, H_out, W_out) or (C, H_out, W_out).
        indices: of the same shape: the switches of `max_pool2d_with_switches` (bytes), or torch's
            int64 indices into the H * W pixels of an image.
        kernel_size, stride, padding: of the pooling, in pixels.
        output_size: (H, W) of the image, or (N, C, H, W); by default the smallest that
            pooling maps to this input, (H_out - 1) S - 2P + K, and less than a stride away from
            it; by either, values whose switch points outside are dropped.
    Returns:
        (N, C, H, W).
    Raises:
        RuntimeError: indices of another shape than the input, of another type, or (on a CPU)
            int64 ones outside the image; an input that is no image.
        ValueError: an output_size of which pooling does not make this input.
        NotImplementedError: dtypes other than float, as in torch.
    Derivatives: all orders, forward mode, vmap.
    Source: Zeiler & Fergus 2013, section 2.1.  Differs: torch's drops overlapping winners.
    """
    if input.dim() == 3:
        options = kernel_size, stride, padding, output_size
        return max_unpool2d(input[None], indices[None], *options)[0]
    check_images(input)
    require_float("max_unpool2d", input)
    kernel = pair(kernel_size, "kernel_size")
    geometry = Geometry(
        kernel, kernel if stride is None else pair(stride, "stride"), pair(padding, "padding")
    )
    geometry.check()
    check_indices(indices, input.shape, geometry)
    size = unpooled_size(geometry, image_size(input), output_size)
    last = is_channels_last(input)
    if indices.dtype == switch_dtype(geometry):
        rows, columns = switched_pixels(indices, geometry)
        inside = (rows >= 0) & (rows < size[0]) & (columns >= 0) & (columns < size[1])
        indices = torch.where(inside, rows * size[1] + columns, 0)
        input = torch.where(inside, input, 0)
    input = autocast_float32("max_unpool2d", input)
    flat = input.new_zeros(*input.shape[:2], size[0] * size[1])  # scatter_add checks the indices
    x = flat.scatter_add(2, indices.flatten(2), input.flatten(2)).unflatten(2, size)
    return as_channels_last(x) if last else x


class MaxUnpool2d(torch.nn.MaxUnpool2d):
    """torch.nn.MaxUnpool2d computed by our `max_unpool2d`: overlapping winners add up."""

    def forward(
        self, input: Tensor, indices: Tensor, output_size: list[int] | None = None
    ) -> Tensor:
        return max_unpool2d(
            input, indices, self.kernel_size, self.stride, self.padding, output_size
        )
