"""Activation maps as pictures: all maps of a layer side by side in one small PNG."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..pictures.colours import SIGNED, colour

PALETTE = [round(255 * part) for row in SIGNED(np.linspace(0, 1, 255)) for part in row[:3]]
ZERO, GAP = 127, 255  # of the palette: white, and what is transparent between maps


def sprite(maps: Tensor, largest: float, pixels: int) -> dict[str, object]:
    """The picture of a volume.

    Args:
        maps: (C, H, W); or (D), which is drawn as a band of D pixels, 64 to a row.
        largest: what is full red, and its negative full blue.
        pixels: of a map's longer side at most; larger ones are reduced by averaging.
    Returns:
        src, a data URI; columns, the maps in a row; width and height of a map and gap between two.
    """
    if maps.dim() == 1:
        return _vector(maps, largest)
    factor = max(1.0, max(maps.shape[-2:]) / pixels)
    if factor > 1:
        reduced = (max(1, round(maps.shape[1] / factor)), max(1, round(maps.shape[2] / factor)))
        maps = F.adaptive_avg_pool2d(maps[None], reduced)[0]
    count, height, width = maps.shape
    gap = max(1, round(width / 14))
    columns = count if count <= 8 else 8 * math.ceil(count / 64) if count <= 256 else 32
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), GAP, np.uint8)
    for number, numbers in enumerate(_indices(maps, largest)):
        top, left = (height + gap) * (number // columns), (width + gap) * (number % columns)
        sheet[top : top + height, left : left + width] = numbers
    size = {"columns": columns, "rows": rows, "width": width, "height": height, "gap": gap}
    return {"src": _png(sheet), **size}


def _vector(numbers: Tensor, largest: float) -> dict[str, object]:
    columns = min(64, len(numbers))
    rows = math.ceil(len(numbers) / columns)
    sheet = np.full(rows * columns, GAP, np.uint8)
    sheet[: len(numbers)] = _indices(numbers, largest)
    size = {"columns": columns, "rows": rows, "width": 1, "height": 1, "gap": 0}
    return {"src": _png(sheet.reshape(rows, columns)), **size}


def picture(image: Tensor) -> str:
    """An image (C, H, W) in [0, 1] as a data URI."""
    pixels = np.rint(255 * colour(image)).astype(np.uint8)
    return _uri(Image.fromarray(pixels))


def _indices(x: Tensor, largest: float) -> np.ndarray:
    """Numbers as places in the palette."""
    scaled = (x / largest).nan_to_num().clamp(-1, 1).cpu().numpy() if largest else 0 * x.numpy()
    return (np.rint(ZERO * scaled) + ZERO).astype(np.uint8)


def _png(indices: np.ndarray) -> str:
    image = Image.fromarray(indices)  # grey levels, which become places in the palette
    image.putpalette([*PALETTE, 0, 0, 0])
    return _uri(image, transparency=GAP)


def _uri(image: Image.Image, **options: Any) -> str:
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True, **options)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
