"""A contact sheet: image files as thumbnails, each with bars for its surest classes.

Drawn pixel by pixel with Pillow: a small image must stay as sharp as it is, and a hundred sets of
axes would take longer than the network.  Lengths are CSS pixels; the picture has `DENSITY` pixels
for each, so that letters are sharp on any screen.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from .answer_report import ON_THE_SHEET, printable
from .classify import Classified

DENSITY = 2
SIDE = 112  # of a thumbnail
CELL, GAP, TITLE, ROW = (400, 144), 14, 18, 22
NAMES, PERCENT = 132, 50  # widths; what lies between them is the bar's
COLUMNS = 3
THUMBNAIL = SIDE * DENSITY  # pixels to take from a file
INK, FAINT, BAR, REST = "#1f2328", "#6e7781", "#2f6f9f", "#e6ebf0"


def contact_sheet(classified: Sequence[Classified]) -> Image.Image:
    """Up to `ON_THE_SHEET` images, `COLUMNS` in a row, in their order."""
    shown = classified[:ON_THE_SHEET]
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    size = GAP + columns * (CELL[0] + GAP), GAP + rows * (CELL[1] + GAP)
    sheet = Sheet(*size)
    for number, image in enumerate(shown):
        row, column = divmod(number, columns)
        _draw(sheet, image, GAP + column * (CELL[0] + GAP), GAP + row * (CELL[1] + GAP))
    return sheet.image


def _draw(sheet: Sheet, image: Classified, left: float, top: float) -> None:
    sheet.text(printable(str(image.file)), left, top, CELL[0], from_end=True)
    sheet.picture(image.thumbnail, left, top + TITLE + 4)
    left, width = left + SIDE + GAP, CELL[0] - SIDE - GAP
    bar = width - NAMES - PERCENT
    for number, (name, probability) in enumerate(image.answers):
        y = top + TITLE + 4 + number * ROW
        sheet.text(printable(name), left, y, NAMES - 6, color=INK if number == 0 else FAINT)
        sheet.bar(left + NAMES, y + 3, bar, 9, probability)
        sheet.text(f"{probability:.1%}", left + width, y, PERCENT, anchor="ra")


class Sheet:
    """`width` x `height` CSS pixels of white; places are counted from the top left corner."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width * DENSITY, height * DENSITY), "white")
        self.pen = ImageDraw.Draw(self.image)
        path = font_manager.findfont("DejaVu Sans")  # comes with matplotlib, has most alphabets
        self.font = ImageFont.truetype(path, 11 * DENSITY)

    def text(
        self, words: str, left: float, top: float, width: float, *, color: str = INK,
        anchor: str = "la", from_end: bool = False,
    ) -> None:  # fmt: skip
        """Words in a line, cut to a width at their end, or (of a path) at their beginning."""
        cut = words
        while self.font.getlength(cut) > width * DENSITY and len(words) > 1:
            words = words[1:] if from_end else words[:-1]
            cut = f"…{words}" if from_end else f"{words}…"
        place = left * DENSITY, top * DENSITY
        self.pen.text(place, cut, fill=color, font=self.font, anchor=anchor)

    def picture(self, thumbnail: Image.Image, left: float, top: float) -> None:
        """As large as it fits a square of `SIDE`; few pixels become squares, and no blur."""
        scale = SIDE * DENSITY / max(thumbnail.size)
        size = tuple(max(1, round(scale * length)) for length in thumbnail.size)
        kind = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS
        enlarged = thumbnail.resize((size[0], size[1]), kind)
        margin = [(SIDE * DENSITY - length) // 2 for length in size]
        x, y = round(left * DENSITY) + margin[0], round(top * DENSITY) + margin[1]
        self.image.paste(enlarged, (x, y))
        self.pen.rectangle((x - 1, y - 1, x + size[0], y + size[1]), outline=REST)

    def bar(self, left: float, top: float, width: float, height: float, part: float) -> None:
        for color, length in ((REST, width), (BAR, width * part)):
            if length * DENSITY >= 1:  # less is no pixel
                right, bottom = (left + length) * DENSITY - 1, (top + height) * DENSITY - 1
                self.pen.rectangle((left * DENSITY, top * DENSITY, right, bottom), fill=color)
