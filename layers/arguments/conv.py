"""What a convolution and its gradients take."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from ..ops.geometry import Geometry, Pair
from .pixels import as_int, pair, pixels

ALGORITHMS = ("auto", "im2col", "winograd", "tf32x3")


def check_algorithm(algorithm: str) -> None:
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}, got {algorithm!r}")


def padded(
    x: Tensor,
    kernel_size: Pair,
    stride: int | Sequence[int],
    padding: str | int | Sequence[int],
    dilation: int | Sequence[int],
    groups: int,
) -> tuple[Tensor, Geometry]:
    """The window's geometry; an even "same" kernel pads the image by hand, one side more."""
    stride, dilation = pair(stride, "stride"), pair(dilation, "dilation")
    inside, (below, right) = pixels(padding, kernel_size, stride, dilation)
    if below or right:
        x = F.pad(x, (0, right, 0, below))
    return x, Geometry(kernel_size, stride, inside, dilation, as_int(groups, "groups"))


def same_dtype(a: Tensor, b: Tensor) -> None:
    if a.dtype != b.dtype:
        raise RuntimeError(f"operands are {a.dtype} and {b.dtype}: use one dtype")


def check_gradient(
    g: Tensor, input_size: Sequence[int], channels: int, filters: int, geometry: Geometry
) -> None:
    """That g is shaped like the output of the convolution it is a gradient of."""
    geometry.check()
    if len(input_size) not in (2, 4) or g.dim() != 4:
        raise RuntimeError(
            f"a convolution's gradients need images (N, C, H, W), or (H, W), and gradients "
            f"(N, C_out, H_out, W_out), got {tuple(input_size)} and {tuple(g.shape)}"
        )
    if not (filters and channels):
        raise RuntimeError(f"conv2d needs filters and channels, got {filters} and {channels}")
    if len(input_size) == 4 and input_size[1] != channels:
        raise RuntimeError(
            f"filters that read {channels} channels do not fit images {tuple(input_size)}"
        )
    if filters % geometry.groups:
        raise RuntimeError(f"{filters} filters cannot be shared among {geometry.groups} groups")
    if len(input_size) == 4 and input_size[0] != g.shape[0]:
        raise RuntimeError(f"{input_size[0]} images, but gradients of {g.shape[0]}")
    expected = (filters, *geometry.output_size(input_size[-2:]))
    if tuple(g.shape[1:]) != expected:
        raise RuntimeError(
            f"the gradient of this convolution is (N, {', '.join(map(str, expected))}), "
            f"got {tuple(g.shape)}"
        )


def check_dimensions(x: Tensor, weight: Tensor) -> None:
    if x.dim() != 4 or weight.dim() != 4:
        raise RuntimeError(
            "conv2d needs images (N, C, H, W) or (C, H, W) and filters (C_out, C/groups, K_h, K_w)"
            f", got {tuple(x.shape)} and {tuple(weight.shape)}"
        )


def check(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> None:
    geometry.check()
    out_channels, channels = weight.shape[:2]
    if not (out_channels and channels):
        raise RuntimeError(f"conv2d needs filters and channels, got filters {tuple(weight.shape)}")
    if x.shape[1] != channels * geometry.groups:
        raise RuntimeError(
            f"filters {tuple(weight.shape)} in {geometry.groups} group(s) read "
            f"{channels * geometry.groups} channels, but images {tuple(x.shape)} have {x.shape[1]}"
        )
    if out_channels % geometry.groups:
        raise RuntimeError(
            f"{out_channels} filters cannot be shared equally among {geometry.groups} groups"
        )
    if x.dtype != weight.dtype:
        raise RuntimeError(f"images are {x.dtype} but filters {weight.dtype}: use one dtype")
    if 0 in x.shape[2:] and len(x):
        raise RuntimeError(f"images must have pixels, got {tuple(x.shape)}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise RuntimeError(
            f"{out_channels} filters need {out_channels} biases, got {tuple(bias.shape)}"
        )
