"""What the pooling functions take."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..ops.geometry import Geometry, Pair
from ..ops.pool import switch_dtype
from .pixels import as_int, pair


def check_images(x: Tensor) -> None:
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


def check_indices(indices: Tensor, shape: torch.Size, geometry: Geometry) -> None:
    if indices.shape != shape:
        raise RuntimeError(
            f"indices {tuple(indices.shape)} must be shaped like the input {tuple(shape)}"
        )
    if indices.dtype not in (torch.int64, switch_dtype(geometry)):
        raise RuntimeError(
            f"indices must be switches ({switch_dtype(geometry)}) or int64, got {indices.dtype}"
        )


def unpooled_size(geometry: Geometry, outputs: Pair, given: Sequence[int] | None) -> Pair:
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


def adaptive_size(x: Tensor, output_size: int | Sequence[int | None] | None) -> Pair:
    """(H_out, W_out) of an adaptive pooling; None keeps a size."""
    if x.dim() not in (3, 4):
        raise RuntimeError(f"pooling needs images (N, C, H, W) or (C, H, W), got {tuple(x.shape)}")
    sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
    if len(sizes) != 2:
        raise RuntimeError(f"output_size must be one number or (H_out, W_out), got {output_size}")
    height, width = (
        length if size is None else as_int(size, "output_size")
        for size, length in zip(sizes, x.shape[-2:], strict=True)
    )
    if min(height, width) < 0:
        raise RuntimeError(f"output_size must be at least 0 x 0, got {height} x {width}")
    return height, width
