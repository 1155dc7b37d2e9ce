"""Two ways to compute a convolution, and the choice between them.

im2col     columns and one product; any convolution, as exact as the dtype
winograd   a quarter of the multiplications for 3x3 filters at stride 1; error about 1e-5
auto       whichever was faster where it was measured (docs/performance.md)
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from . import backends
from .kernels import conv_winograd as kernels
from .kernels.conv_winograd_plan import TILE, tiling
from .ops.geometry import Geometry, Pair, as_int, pair
from .ops.registry import image_size
from .trilinear import InputSlot, OutputSlot, WeightSlot, connect

ALGORITHMS = ("auto", "im2col", "winograd")
WIDE = 48  # channels on both sides from which fewer multiplications outweigh the transforms


class WinogradConvolution(OutputSlot):
    """y = conv2d(x, w)."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        return kernels.winograd(x, weight, geometry.flatten())


class WinogradInput(InputSlot):
    """x = conv2d_input(w, g)."""

    @staticmethod
    def forward(weight: Tensor, g: Tensor, geometry: Geometry, size: Pair) -> Tensor:
        return kernels.winograd_input(weight, g, geometry.flatten(), size)


class WinogradWeight(WeightSlot):
    """w = conv2d_weight(x, g)."""

    @staticmethod
    def forward(x: Tensor, g: Tensor, geometry: Geometry) -> Tensor:
        return kernels.winograd_weight(x, g, geometry.flatten())


connect(WinogradConvolution, WinogradInput, WinogradWeight, groups_at=0)


@torch.compiler.allow_in_graph
def winograd_convolution(x: Tensor, weight: Tensor, *geometry: Any) -> Tensor:
    """Traced as one call, because Dynamo cannot look into a Function that has a `jvp`."""
    return WinogradConvolution.apply(x, weight, Geometry(*geometry))


def algorithm_for(
    input: Tensor,
    weight: Tensor,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> str:
    """What `conv2d(..., algorithm="auto")` takes for these arguments: "im2col" or "winograd".

    Args: as `conv2d`; of the tensors only shape, dtype and device matter ("meta" will do).
    `layers.backends.winograd.enabled` matters, too.
    """
    kernel_size = weight.shape[2], weight.shape[3]
    geometry = Geometry(
        kernel_size, pair(stride, "stride"), pair(padding, "padding"), pair(dilation, "dilation"),
        as_int(groups, "groups"),
    )  # fmt: skip
    return choose("auto", input, weight, geometry)


def choose(algorithm: str, x: Tensor, weight: Tensor, geometry: Geometry) -> str:
    """The algorithm itself for "auto".

    Raises:
        ValueError: an unknown algorithm, or one that does not compute this convolution.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}, got {algorithm!r}")
    if algorithm == "winograd" and not kernels.fits(geometry):
        raise ValueError(
            "winograd is for 3x3 filters with stride 1, dilation 1 and padding up to 2, "
            f"got {geometry}: use im2col or auto"
        )
    if algorithm != "auto":
        return algorithm
    on_cpu = x.device.type in ("cpu", "meta")  # as `algorithm_for` promises of meta tensors
    measured = x.dtype == torch.float32 and on_cpu and geometry.groups == 1
    wide = min(weight.shape[:2]) >= WIDE
    taken = backends.winograd.enabled and measured and wide and _pays(x, geometry)
    return "winograd" if taken else "im2col"


def _pays(x: Tensor, geometry: Geometry) -> bool:
    """Whether the tiles, which hang over the border, are at least half outputs."""
    if not kernels.fits(geometry):
        return False
    outputs = geometry.output_size(image_size(x))
    return TILE**2 * prod(tiling(outputs)) <= 2 * prod(outputs)
