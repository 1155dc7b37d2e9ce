"""What a locally connected layer takes."""

from __future__ import annotations

import math

from torch import Tensor

from ..ops.geometry import Geometry


def check_dimensions(x: Tensor, weight: Tensor) -> None:
    if x.dim() != 4 or weight.dim() != 5:
        raise RuntimeError(
            "locally_connected2d needs images (N, C, H, W) or (C, H, W) and weights (H_out, W_out, "
            f"groups, K, C_out/groups), got {tuple(x.shape)} and {tuple(weight.shape)}"
        )


def check(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> None:
    geometry.check()
    needed = x.shape[1] * math.prod(geometry.kernel_size)
    if x.shape[1] % geometry.groups or needed != weight.shape[3] * geometry.groups:
        raise RuntimeError(
            f"weights {tuple(weight.shape)} read {weight.shape[3] * geometry.groups} numbers per "
            f"window, but a window of images {tuple(x.shape)} has {needed}"
        )
    if geometry.output_size(x.shape[2:]) != tuple(weight.shape[:2]):
        raise RuntimeError(
            f"weights for {tuple(weight.shape[:2])} positions, but images {tuple(x.shape)} have "
            f"{geometry.output_size(x.shape[2:])}: the layer was built for another image size"
        )
    if x.dtype != weight.dtype:
        raise RuntimeError(f"images are {x.dtype} but weights {weight.dtype}: use one dtype")
    if bias is not None and bias.shape != (weight.shape[2] * weight.shape[4], *weight.shape[:2]):
        raise RuntimeError(f"biases must be (C_out, H_out, W_out), got {tuple(bias.shape)}")


def check_groups(in_channels: int, out_channels: int, groups: int) -> None:
    if groups < 1:
        raise ValueError(f"groups must be at least 1, got {groups}")
    if in_channels % groups or out_channels % groups:
        raise ValueError(
            f"{in_channels} and {out_channels} channels cannot be shared equally among {groups} "
            f"groups"
        )


def one_group(geometry: Geometry) -> None:
    if geometry.groups != 1:
        raise ValueError("JAX's layout holds one group; this layer has more")


def check_jax(kernel: Tensor, shape: tuple[int, ...]) -> None:
    if kernel.shape != shape:
        raise ValueError(f"the kernel must be {shape}, got {tuple(kernel.shape)}")
