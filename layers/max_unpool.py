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

from .autocast import autocast_float32
from .max_pool import check
from .ops.dtypes import require_float
from .ops.geometry import Geometry, Pair, image_size, pair
from .ops.memory_format import as_channels_last, is_channels_last
from .ops.pool import switch_dtype, switched_pixels
from .overrides import overridable


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
    check(input)
    require_float("max_unpool2d", input)
    if input.shape != indices.shape:
        raise RuntimeError(
            f"indices {tuple(indices.shape)} must be shaped like the input {tuple(input.shape)}"
        )
    kernel = pair(kernel_size, "kernel_size")
    geometry = Geometry(
        kernel, kernel if stride is None else pair(stride, "stride"), pair(padding, "padding")
    )
    geometry.check()
    size = _image_size(geometry, image_size(input), output_size)
    last = is_channels_last(input)
    if indices.dtype == switch_dtype(geometry):
        rows, columns = switched_pixels(indices, geometry)
        inside = (rows >= 0) & (rows < size[0]) & (columns >= 0) & (columns < size[1])
        indices = torch.where(inside, rows * size[1] + columns, 0)
        input = torch.where(inside, input, 0)
    elif indices.dtype != torch.int64:
        raise RuntimeError(
            f"indices must be switches ({switch_dtype(geometry)}) or int64, got {indices.dtype}"
        )
    input = autocast_float32("max_unpool2d", input)
    flat = input.new_zeros(*input.shape[:2], size[0] * size[1])  # scatter_add checks the indices
    x = flat.scatter_add(2, indices.flatten(2), input.flatten(2)).unflatten(2, size)
    return as_channels_last(x) if last else x


def _image_size(geometry: Geometry, outputs: Pair, given: Sequence[int] | None) -> Pair:
    """The size of the image that was pooled, by default the smallest."""
    (kh, kw), (sh, sw), (ph, pw) = geometry[:3]
    smallest = (outputs[0] - 1) * sh - 2 * ph + kh, (outputs[1] - 1) * sw - 2 * pw + kw
    if given is None:
        given = smallest
    if not isinstance(given, (tuple, list)):
        raise TypeError(f"output_size must be (H, W) or (N, C, H, W), got {given!r}")
    if len(given) not in (2, 4):
        raise ValueError(f"output_size must be (H, W) or (N, C, H, W), got {tuple(given)}")
    size = pair(given[-2:], "output_size")
    far = any(abs(a - b) >= s for a, b, s in zip(size, smallest, geometry.stride, strict=True))
    if far or min(size) < 0:
        raise ValueError(
            f"windows {geometry.kernel_size} at stride {geometry.stride} and padding "
            f"{geometry.padding} make {outputs} of images near {smallest}, not of {size}"
        )
    return size


class MaxUnpool2d(torch.nn.MaxUnpool2d):
    """torch.nn.MaxUnpool2d computed by our `max_unpool2d`: overlapping winners add up."""

    def forward(
        self, input: Tensor, indices: Tensor, output_size: list[int] | None = None
    ) -> Tensor:
        return max_unpool2d(
            input, indices, self.kernel_size, self.stride, self.padding, output_size
        )
