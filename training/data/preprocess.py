"""From uint8 images to what a network sees: augmentation, scaling, on the whole batch at once."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..options import Options
from ..randomness import Draws

LIGHTING = 0.1  # standard deviation of the shift along each principal component, in the paper


class Preprocess(torch.nn.Module):
    """(N, C, S, S) uint8 -> (N, C, S, S) floats in `memory_format`, (pixel/255 - mean) / std.

    In training mode each image is changed at random first (`augment`):
        affine      rotation, scaling, shear and shift, as LeCun et al. 1998 distort digits
                    (section III-A); black enters at the border.
        crop-flip   a shift by up to an eighth of the image and, every other time, a mirror
                    image, as everybody does on CIFAR (He et al. 2015, section 4.2: 4 of 32).
        crop-flip-lighting      the same, and colours are shifted (Krizhevsky et al. 2012,
                    section 4.1).

    The random numbers are given, a row for each image (randomness.py).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, options: Options, memory_format: torch.memory_format = torch.contiguous_format
    ) -> None:
        super().__init__()
        self.augment, self.memory_format = options.augment, memory_format
        dtype = getattr(torch, options.dtype)
        self.register_buffer("mean", torch.tensor(options.mean, dtype=dtype)[:, None, None])
        self.register_buffer("std", torch.tensor(options.std, dtype=dtype)[:, None, None])

    def forward(self, images: Tensor, draws: Draws | None = None) -> Tensor:
        x = images.to(self.mean.dtype) / 255
        if self.training and draws is not None and len(x):  # F.affine_grid takes no empty batch
            if self.augment == "affine":
                x = random_affine(x, draws.uniform)
            elif self.augment in ("crop-flip", "crop-flip-lighting"):
                x = random_crop_flip(x, draws.uniform)
            if self.augment == "crop-flip-lighting":
                x = random_lighting(x, LIGHTING * draws.normal)
        return ((x - self.mean) / self.std).contiguous(memory_format=self.memory_format)


def random_affine(
    x: Tensor,
    uniform: Tensor,
    degrees: float = 7,
    scale: float = 0.07,
    shear: float = 0.1,
    shift: float = 0.05,
) -> Tensor:
    """Each image (N, C, S, S) through its own affine map.

    Args:
        uniform: numbers in [0, 1), at least five for each image.
        degrees: of rotation, either way.
        scale: by 1 - scale to 1 + scale.
        shear: horizontal pixels per vertical pixel, either way.
        shift: either way, as a part of the image's size.
    """
    bounds = math.radians(degrees), scale, shear, 2 * shift, 2 * shift
    drawn = 2 * uniform[:, : len(bounds)].to(x.dtype) - 1  # in [-1, 1)
    angle, change, slant, right, down = (
        bound * column for bound, column in zip(bounds, drawn.unbind(1), strict=True)
    )
    cos, sin = angle.cos() / (1 + change), angle.sin() / (1 + change)
    # The map from output to input pixels, in coordinates that run from -1 to 1.
    theta = torch.stack((cos, cos * slant - sin, right, sin, sin * slant + cos, down), 1)
    grid = F.affine_grid(theta.view(-1, 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def random_crop_flip(x: Tensor, uniform: Tensor) -> Tensor:
    """Each image (N, C, S, S) shifted by up to S/8 pixels over black, and mirrored or not.

    Args:
        uniform: numbers in [0, 1), at least three for each image.
    """
    n, channels, height, width = x.shape
    margin = height // 8
    padded = F.pad(x, (margin, margin, margin, margin))
    top, left = (uniform[:, :2] * (2 * margin + 1)).long().unbind(1)
    rows = top[:, None] + torch.arange(height, device=x.device)
    columns = left[:, None] + torch.arange(width, device=x.device)
    columns = torch.where(uniform[:, 2:3] < 0.5, columns.flip(1), columns)
    image = torch.arange(n, device=x.device)[:, None, None, None]
    channel = torch.arange(channels, device=x.device)[:, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


# Of ImageNet's pixels in [0, 1]: eigenvalues of the covariance of R, G, B, and eigenvectors by row.
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = (
    (-0.5675, -0.5808, -0.5836), (0.7192, -0.0045, -0.6948), (0.4009, -0.8140, 0.4203),
)  # fmt: skip


@cache  # not a transfer to the GPU at every step
def _principal_components(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """l and p as tensors, (3) and (3, 3)."""
    values, vectors = (
        torch.tensor(v, dtype=dtype, device=device) for v in (EIGENVALUES, EIGENVECTORS)
    )
    return values, vectors


def random_lighting(x: Tensor, amounts: Tensor) -> Tensor:
    """Each image (N, 3, H, W) brighter or darker, redder or bluer: + sum of a_i l_i p_i.

    The a_i are `amounts`, (N, 3), normal numbers; l_i and p_i are ImageNet's principal components,
    as in Facebook's ResNet code.  On pixels in [0, 1]: on 0..255 the paper's formula would shift by
    thousands.
    """
    values, vectors = _principal_components(x.dtype, x.device)
    return x + ((amounts.to(x.dtype) * values) @ vectors)[:, :, None, None]
