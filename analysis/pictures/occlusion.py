"""Occlusion as a picture: the image under the square, and a map of the answers at its places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from torch import Tensor

from . import colours
from .sheet import FAINT, Sheet

MARGIN, HEAD, FOOT = 20, 92, 44  # pixels: around all, above the pictures, below those of a row
SIDE, SPACE = 200, 26  # of a picture, between pictures
HEAT = matplotlib.colormaps["Reds_r"]  # dark where the probability falls
SHADE = 0.78  # of a colour where the image that it is laid over is black


@dataclass
class Occlusion:
    """An image, and the answers for every place of the square (analysis/occlusion.py)."""

    name: str
    image: Tensor  # (C, H, W) in [0, 1]
    target: int  # the class whose probability is mapped
    whole: float  # its probability with nothing covered
    covered: Tensor  # (rows, columns, num_classes)
    size: int  # of the square, in pixels
    grey: int


def draw(title: str, found: Sequence[Occlusion], classes: Sequence[str]) -> Sheet:
    """A row for each image: the image, the class's probability, and the most probable class."""
    width = 2 * MARGIN + 3 * SIDE + 2 * SPACE + 160
    sheet = Sheet(width, HEAD + len(found) * (SIDE + FOOT) + MARGIN)
    sheet.text(title, MARGIN, MARGIN - 3, 14, weight="bold")
    words = (
        f"A grey square of {found[0].size} pixels is centred on each place of the image in turn; "
        "the answers for it are drawn there."
    )
    sheet.text(words, MARGIN, MARGIN + 17, 10.5, FAINT)
    lefts = [MARGIN + place * (SIDE + SPACE) for place in range(3)]
    for left, heading in zip(
        lefts, ("image, and the square", "probability of class", "most probable class"),
        strict=True,
    ):  # fmt: skip
        sheet.text(heading, left, HEAD - 18, 11)
    scale = HEAT(np.linspace(0, 1, 64))[None, :, :3]
    sheet.image(scale, lefts[1] + SIDE - 62, HEAD - 15, 36, 9)
    sheet.text("0", lefts[1] + SIDE - 66, HEAD - 17, 9, FAINT, ha="right")
    sheet.text("100%", lefts[1] + SIDE, HEAD - 17, 9, FAINT, ha="right")
    for number, one in enumerate(found):
        _row(sheet, one, lefts, HEAD + number * (SIDE + FOOT), classes)
    return sheet


def _row(
    sheet: Sheet, one: Occlusion, lefts: Sequence[float], top: float, classes: Sequence[str]
) -> None:
    image, probability = colours.colour(one.image), one.covered[..., one.target].cpu()
    length = image.shape[0]
    square = one.size * SIDE / length
    sheet.image(image, lefts[0], top, SIDE, SIDE)
    grey = f"#{one.grey:02x}" + 2 * f"{one.grey:02x}"
    sheet.box(lefts[0] + 6, top + 6, square, square, grey, fill=True, line=0)
    sheet.box(lefts[0] + 6, top + 6, square, square, "white")
    sheet.image(
        _over(HEAT(probability.double().numpy())[..., :3], image), lefts[1], top, SIDE, SIDE
    )
    winners = one.covered.argmax(-1).cpu()
    names, pixels = _classes(winners)
    sheet.image(_over(pixels, image), lefts[2], top, SIDE, SIDE)
    sheet.text(one.name, lefts[0], top + SIDE + 6, 10, FAINT)
    least, most = probability.min(), probability.max()
    words = f"{classes[one.target]}: {one.whole:.1%} uncovered; {least:.1%} to {most:.1%}"
    sheet.text(words, lefts[1], top + SIDE + 6, 10, FAINT)
    left = lefts[2] + SIDE + 14
    for place, (index, colour) in enumerate(names):
        sheet.box(left, top + 3 + 20 * place, 12, 12, colour, fill=True, line=0)
        sheet.text(classes[index][:18], left + 19, top + 2 + 20 * place, 10.5)


def _over(colours: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Colours (rows, columns, 3) laid over the image (H, W, 3)."""
    height, width, _ = image.shape
    rows, columns = (
        np.minimum(np.arange(length) * cells // length, cells - 1)
        for length, cells in zip((height, width), colours.shape, strict=False)
    )
    grey = image.mean(-1, keepdims=True)
    return colours[rows][:, columns] * (SHADE + (1 - SHADE) * grey)


def _classes(winners: Tensor, most: int = 9) -> tuple[list[tuple[int, str]], np.ndarray]:
    """Classes by how often they win, in colours; those beyond `most` are grey."""
    indices, counts = winners.unique(return_counts=True)
    order = indices[counts.argsort(descending=True, stable=True)].tolist()
    others = matplotlib.colormaps["tab10"]
    palette = ["#dfe5ea", *(matplotlib.colors.to_hex(others(i)) for i in range(10))]
    named = [*zip(order[:most], palette, strict=False)]
    pixels = np.full((*winners.shape, 3), 0.3)
    for index, colour in named:
        pixels[(winners == index).numpy()] = matplotlib.colors.to_rgb(colour)
    return named, pixels
