"""An image on its way through a network: the picture that the chapter opens with.

Every volume is a column of some of its activation maps, under the layer's name and size; at the end
stand the scores, as probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from analysis.volumes import Volume

from . import colours
from .sheet import ACCENT, FAINT, FRAME, Sheet

TILE, GAP, COLUMN = 58, 4, 72  # pixels: a map, between maps, from column to column
MARGIN, HEAD, BARS = 20, 104, 190  # around all; above the maps; width of the scores
CELL = 16  # of a vector's number, at most
WORDS = {
    "Conv2d": "CONV", "PartialConv2d": "CONV", "LocallyConnected2d": "LOCAL", "Linear": "FC",
    "ReLU": "RELU", "Tanh": "TANH", "ScaledTanh": "TANH", "Squash": "TANH", "MaxPool2d": "POOL",
    "AvgPool2d": "POOL", "SubSampling": "POOL", "LPPool2d": "POOL", "AdaptiveAvgPool2d": "POOL",
    "LocalResponseNorm": "LRN", "PerTower": "LRN", "BatchNorm2d": "BN", "RadialBasis": "RBF",
    "Inception": "INCEPTION", "InceptionBN": "INCEPTION",
}  # fmt: skip


def draw(
    title: str,
    image: Tensor,
    columns: Sequence[Volume],
    probabilities: Tensor,
    classes: Sequence[str],
    truth: int | None = None,
    maps: int = 8,
) -> Sheet:
    """
    Args:
        image: (C, H, W) in [0, 1].
        columns: volumes of one image.
        probabilities: of the classes, (num_classes).
        truth: the image's class, if it is known.
        maps: of a volume, at most.
    """
    down = maps * (TILE + GAP) - GAP
    width = MARGIN + COLUMN * (len(columns) + 1) + BARS + MARGIN
    sheet = Sheet(width, HEAD + down + MARGIN)
    sheet.text(title, MARGIN, MARGIN - 3, 14, weight="bold")
    _heading(sheet, MARGIN, "INPUT", "", image.shape)
    sheet.image(colours.colour(image), MARGIN, HEAD, TILE, TILE)
    if truth is not None:
        sheet.text(_short(classes[truth]), MARGIN + TILE / 2, HEAD + TILE + 6, 10, ha="center")
    for number, (volume, shown) in enumerate(zip(columns, chosen_maps(columns, maps), strict=True)):
        left = MARGIN + COLUMN * (number + 1)
        x = volume.x[0].float()
        kind = type(volume.module).__name__
        _heading(sheet, left, WORDS.get(kind, kind), volume.name, x.shape)
        if x.dim() == 1 or x[0].numel() == 1:
            _vector(sheet, x.flatten(), left, down)
            continue
        for row, tile in enumerate(_pixels(x[shown])):
            sheet.image(tile, left, HEAD + row * (TILE + GAP), TILE, TILE)
        if len(shown) < len(x):
            words = f"{len(shown)} of {len(x):,}"
            sheet.text(words, left + TILE / 2, HEAD - 16, 9, FAINT, ha="center")
    _scores(sheet, probabilities, classes, truth)
    return sheet


def chosen_maps(columns: Sequence[Volume], most: int) -> list[Tensor]:
    """Which maps of each volume to show: those that vary most over the image.

    Normalisation, activation functions and pooling change maps, but do not mix them: behind the
    same filters the same maps are shown, those that vary most at the end.
    """
    chosen: list[Tensor] = []
    following = None
    for number in range(len(columns) - 1, -1, -1):
        x, after = columns[number].x[0].float(), following
        is_same = after is not None and not after.has_filters and len(after.x[0]) == len(x)
        if not is_same:
            spread = x.flatten(1).std(1, correction=0) if x.dim() > 1 else x
            maps = spread.nan_to_num().topk(min(most, len(x))).indices.sort().values
        chosen.insert(0, maps)
        following = columns[number]
    return chosen


def _pixels(maps: Tensor) -> np.ndarray:
    """Each map stretched to its own range: zero is black, or white if there are negative ones."""
    return colours.signed(maps) if (maps < 0).any() else colours.unsigned(maps)


def _vector(sheet: Sheet, x: Tensor, left: float, down: float) -> None:
    """Numbers as cells, from top to bottom, in as many columns as they need."""
    height = max(1.0, min(CELL, math.floor(2 * down / len(x)) / 2))
    rows = min(len(x), int(down / height))
    columns = math.ceil(len(x) / rows)
    width = min(CELL, TILE / columns)
    rest = rows * columns - len(x)
    pixels = np.concatenate((_pixels(x[None, None])[0, 0], np.ones((rest, 3))))
    pixels = pixels.reshape(columns, rows, 3).swapaxes(0, 1)
    middle = left + (TILE - width * columns) / 2
    sheet.image(pixels, middle, HEAD, width * columns, height * rows)
    sheet.box(middle, HEAD, width * columns, height * rows, FRAME)


def _heading(sheet: Sheet, left: float, word: str, name: str, shape: Sequence[int]) -> None:
    """The layer's kind, its name in the network, and height x width x maps as in the chapter."""
    channels, *sides = shape
    size = "x".join(map(str, (*sides, channels)))
    middle = left + TILE / 2
    sheet.text(word, middle, HEAD - 62, 10.5 if len(word) < 9 else 8.5, ha="center", weight="bold")
    sheet.text(name, middle, HEAD - 46, 9 if len(name) < 14 else 7.5, FAINT, ha="center")
    sheet.text(size, middle, HEAD - 32, 9.5 if len(size) < 12 else 8.5, ha="center")


def _scores(sheet: Sheet, probabilities: Tensor, classes: Sequence[str], truth: int | None) -> None:
    """The five most probable classes as bars."""
    left, wide = sheet.width - MARGIN - BARS + 14, BARS - 14
    sheet.text("top 5", left, HEAD - 62, 10.5, weight="bold")
    top = probabilities.float().topk(min(5, len(probabilities)))
    for row, (value, index) in enumerate(zip(*(t.tolist() for t in top), strict=True)):
        at = HEAD + 44 * row
        color = ACCENT if index == truth else FAINT
        sheet.text(_short(classes[index], 22), left, at, 11)
        sheet.text(f"{value:.1%}", left + wide, at, 11, FAINT, ha="right")
        sheet.box(left, at + 18, wide, 9, FRAME, fill=True, line=0)
        sheet.box(left, at + 18, max(1, wide * value), 9, color, fill=True, line=0)
    if truth is not None:
        sheet.text("coloured: the true class", left, HEAD + 44 * len(top.values), 9, FAINT)


def _short(name: str, letters: int = 11) -> str:
    return name if len(name) <= letters else name[: letters - 1] + "…"
