"""What the maps of a layer respond to: patches of images, and what of them made the difference.

For each map, as in Zeiler & Fergus 2013, Fig. 2: the nine patches of a data set that made it
respond most, the strongest first, and beside them, in the same order, their projections to the
pixels, by the deconvnet or another of the methods of analysis/deconvnet.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from analysis.receptive_field import ReceptiveField

from . import colours
from .sheet import FAINT, FRAME, Sheet

MARGIN, HEAD = 20, 84  # pixels: around all, above the maps
TILE, GAP, SPACE = 31, 1, 7  # a patch, between patches, between grids
BLOCK = 22, 30  # between maps, across and down
ROW = 3  # patches in a row of a grid
WIDTH = 980
OUTSIDE = 0.91  # grey of what lies beyond the border of the image


class Map:
    """One map: its number, and pictures (count, h, w, 3) of its patches and their projections."""

    def __init__(
        self, number: int, images: Tensor, units: Tensor, field: ReceptiveField | None,
        projections: Mapping[str, Tensor],
    ) -> None:  # fmt: skip
        """
        Args:
            images: (count, C, S, S) in [0, 1].
            units: (count, 3), as in analysis/strongest.py.
            field: of the layer; None if it is not known, or larger than the images, which are then
                shown whole.
            projections: by method, (count, C, S, S).
        """
        self.number, self.is_grey = number, images.shape[1] == 1
        whole = {"patch": colours.colour(images)}
        whole |= {method: colours.contrast(x) for method, x in projections.items()}
        height, width = images.shape[2:]
        windows = [
            (0, 0, height, width) if field is None else field.window(row, column)
            for _, row, column in units.tolist()
        ]
        self.grids = {
            name: [crop(image, window) for image, window in zip(pictures, windows, strict=True)]
            for name, pictures in whole.items()
        }


def crop(pixels: np.ndarray, window: tuple[int, int, int, int]) -> np.ndarray:
    """(top, left, bottom, right) of an image (h, w, 3), filled up with grey beyond its border."""
    top, left, bottom, right = window
    cut = pixels[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    patch = np.full((bottom - top, right - left, 3), OUTSIDE)
    above, before = max(0, -top), max(0, -left)
    patch[above : above + cut.shape[0], before : before + cut.shape[1]] = cut
    return patch


def draw(title: str, words: str, maps: Sequence[Map]) -> Sheet:
    """
    Args:
        words: what the pictures are of, in a line.
    """
    names = list(maps[0].grids)
    grid = ROW * (TILE + GAP) - GAP
    block = len(names) * (grid + SPACE) - SPACE
    each = max(1, (WIDTH - 2 * MARGIN + BLOCK[0]) // (block + BLOCK[0]))
    across = min(each, len(maps))
    down = -(-len(maps) // across)
    size = across * (block + BLOCK[0]) - BLOCK[0] + 2 * MARGIN
    sheet = Sheet(max(size, 640), HEAD + down * (grid + BLOCK[1]) + MARGIN)
    sheet.text(title, MARGIN, MARGIN - 3, 14, weight="bold")
    sheet.text(words, MARGIN, MARGIN + 17, 10.5, FAINT)
    if maps[0].is_grey:
        legend = "in projections, red is where a unit wants brighter pixels, blue where darker ones"
        sheet.text(legend, MARGIN, MARGIN + 33, 10.5, FAINT)
    for index, one in enumerate(maps):
        row, column = divmod(index, across)
        left, top = MARGIN + column * (block + BLOCK[0]), HEAD + row * (grid + BLOCK[1]) + 14
        sheet.text(f"map {one.number}", left, top - 15, 9.5)
        for place, name in enumerate(names):
            start = left + place * (grid + SPACE)
            if place:
                sheet.text(name, start + grid, top - 15, 9.5, FAINT, ha="right")
            sheet.box(start - 0.5, top - 0.5, grid + 1, grid + 1, FRAME)
            for number, tile in enumerate(one.grids[name]):
                at = divmod(number, ROW)
                corner = start + at[1] * (TILE + GAP), top + at[0] * (TILE + GAP)
                sheet.image(tile, *corner, TILE, TILE)
    return sheet
