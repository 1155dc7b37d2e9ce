"""Numbers as colours: what may be negative around white, what may not from black.

Every function takes tensors (..., H, W) and gives RGB in [0, 1], (..., H, W, 3), for numpy.
"""

from __future__ import annotations

import matplotlib
import numpy as np
import torch
from torch import Tensor

SIGNED = matplotlib.colormaps["RdBu_r"]  # blue below zero, white at it, red above


def signed(x: Tensor, largest: Tensor | None = None) -> np.ndarray:
    """Zero is white.

    Args:
        largest: what is full red, and its negative full blue; by default the image's own largest.
    """
    largest = x.abs().amax((-2, -1), keepdim=True) if largest is None else largest
    return SIGNED(_fraction(0.5 + 0.5 * x / largest.clamp(min=1e-30)))[..., :3]


def unsigned(x: Tensor) -> np.ndarray:
    """Zero is black, an image's own largest value white."""
    largest = x.amax((-2, -1), keepdim=True)
    return grey(x / largest.clamp(min=1e-30))


def grey(x: Tensor) -> np.ndarray:
    """0 is black, 1 white."""
    return np.repeat(_fraction(x)[..., None], 3, -1)


def colour(x: Tensor) -> np.ndarray:
    """Images (..., C, H, W) in [0, 1]: of three channels in their colours, else in grey."""
    if x.shape[-3] == 3:
        return _fraction(x.movedim(-3, -1))
    return grey(x.mean(-3))


def contrast(x: Tensor) -> np.ndarray:
    """Weights or gradients of an image, (..., C, H, W), each stretched to its own range.

    Of three channels as a coloured image, in which zero is mid-grey; of one by `signed`.
    """
    if x.shape[-3] != 3:
        return signed(x.sum(-3))
    largest = x.abs().amax((-3, -2, -1), keepdim=True).clamp(min=1e-30)
    return colour(0.5 + 0.5 * x / largest)


def _fraction(x: Tensor) -> np.ndarray:
    return torch.nan_to_num(x).clamp(0, 1).cpu().double().numpy()
