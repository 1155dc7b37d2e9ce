"""LeNet-5's output codes: a 7 x 12 bitmap of each class's character, +1 for ink, -1 for paper.

LeCun et al. 1998, section II-B, Fig. 3.  Similar characters have similar codes, so that confusions
are between similar characters.  The paper's bitmaps are published as a figure; these are redrawn.
"""

from __future__ import annotations

import torch
from torch import Tensor

WIDTH, HEIGHT = 7, 12

DIGITS = """
.#####. ...#... .#####. .#####. ....##. ####### ..####. ####### .#####. .#####.
##...## ..##... ##...## ##...## ...###. ##..... .##.... ......# ##...## ##...##
#.....# .###... #.....# ......# ...#.#. ##..... ##..... .....## #.....# #.....#
#.....# ...#... ......# ......# ..##.#. ##..... #...... .....#. #.....# #.....#
#.....# ...#... .....## .....## ..#..#. ######. #.####. ....##. ##...## ##...##
#.....# ...#... ....##. ..####. .##..#. ##...## ###..## ....#.. .#####. .######
#.....# ...#... ...##.. .....## .#...#. ......# ##....# ...##.. ##...## ......#
#.....# ...#... ..##... ......# ##...#. ......# #.....# ...#... #.....# ......#
#.....# ...#... .##.... ......# ####### ......# #.....# ..##... #.....# ......#
#.....# ...#... ##..... #.....# .....#. #.....# #.....# ..#.... #.....# .....##
##...## ...#... #...... ##...## .....#. ##...## ##...## .##.... ##...## ....##.
.#####. .#####. ####### .#####. .....#. .#####. .#####. .#..... .#####. .####..
"""


def output_codes(num_classes: int) -> Tensor:
    """(num_classes, 84) of +-1: the ten digits, then fixed random codes."""
    rows = [line.split() for line in DIGITS.strip().split("\n")]
    glyphs = ["".join(glyph) for glyph in zip(*rows, strict=True)]
    digits = torch.tensor([[1.0 if pixel == "#" else -1.0 for pixel in glyph] for glyph in glyphs])
    generator = torch.Generator("cpu").manual_seed(0)
    size = max(0, num_classes - 10), WIDTH * HEIGHT
    more = torch.randint(2, size, generator=generator, device="cpu").to(digits.device)
    return torch.cat((digits, 2.0 * more - 1.0))[:num_classes]
