"""A picture laid out by hand: pixels, lines and words, each at its place.

Pictures of filters and of activation maps consist of hundreds of small images whose pixels must not
be blurred, so they are put down in whole pixels, all of them below lines and words.  Lengths are
CSS pixels, at which a browser shows the picture on a page; a file has `DENSITY` pixels for each, so
that letters are sharp on every screen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image

matplotlib.use("Agg")

DENSITY = 2
INK, FAINT, FRAME, ACCENT = "#1f2328", "#6e7781", "#e4e8ec", "#c2410c"


class Sheet:
    """`width` x `height` CSS pixels of white; places are counted from the top left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = round(width), round(height)
        size = self.width / 100, self.height / 100  # inches
        self.figure = Figure(figsize=size, dpi=100 * DENSITY)
        self.canvas = np.full((self.height * DENSITY, self.width * DENSITY, 3), 255, np.uint8)

    def image(
        self, pixels: np.ndarray, left: float, top: float, width: float, height: float
    ) -> None:
        """RGB pixels (h, w, 3) in [0, 1], each enlarged to a rectangle, or averaged if too many."""
        left, top = round(left * DENSITY), round(top * DENSITY)
        size = round(width * DENSITY), round(height * DENSITY)
        whole = Image.fromarray((pixels.clip(0, 1) * 255).round().astype(np.uint8))
        is_larger = whole.width > size[0] or whole.height > size[1]
        whole = whole.resize(size, Image.Resampling.BOX if is_larger else Image.Resampling.NEAREST)
        self.canvas[top : top + size[1], left : left + size[0]] = np.asarray(whole)

    def text(
        self, words: str, left: float, top: float, size: float = 11, color: str = INK, **style: Any
    ) -> None:
        """Words whose top left corner (or top centre, with ha="center") is here; `size` pixels."""
        style = {"va": "top", "fontsize": 0.72 * size, "color": color, **style}
        self.figure.text(left / self.width, 1 - top / self.height, words, **style)

    def box(
        self, left: float, top: float, width: float, height: float, color: str = ACCENT,
        line: float = 1, fill: bool = False,
    ) -> None:  # fmt: skip
        """A frame, or a filled rectangle."""
        across, down = width / self.width, height / self.height
        place = left / self.width, 1 - top / self.height - down
        patch = Rectangle(place, across, down, fill=fill, color=color, linewidth=0.72 * line)
        patch.set_transform(self.figure.transFigure)
        self.figure.add_artist(patch)

    def line(
        self, left: float, top: float, right: float, bottom: float, color: str = FAINT
    ) -> None:
        across = left / self.width, right / self.width
        down = 1 - top / self.height, 1 - bottom / self.height
        self.figure.add_artist(Line2D(across, down, color=color, linewidth=0.72))

    def pixels(self) -> np.ndarray:
        """(height, width, 3) uint8, as in the file."""
        if not self.figure.images:
            self.figure.figimage(self.canvas, origin="upper")  # below lines and words
        canvas = FigureCanvasAgg(self.figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()

    def save(self, path: Path) -> None:
        """As PNG.

        Raises:
            OSError: it cannot be written.
        """
        Image.fromarray(self.pixels()).save(path, optimize=True)
