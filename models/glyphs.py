"""LeNet-5's output codes: each class is a 7 x 12 picture of its character, +1 ink, -1 paper.

LeCun et al. 1998, section II-B, Fig. 3.  Similar characters have similar codes, so confusions
stay between look-alikes.  The paper's bitmaps exist only as a picture; these are drawn anew.
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
    """(num_classes, 84) of +-1: the ten digits, then, for further classes, fixed random codes."""
    rows = [line.split() for line in DIGITS.strip().split("\n")]
    glyphs = ["".join(glyph) for glyph in zip(*rows, strict=True)]
    digits = torch.tensor([[1.0 if mark == "#" else -1.0 for mark in glyph] for glyph in glyphs])
    generator = torch.Generator("cpu").manual_seed(0)
    size = max(0, num_classes - 10), WIDTH * HEIGHT
    more = torch.randint(2, size, generator=generator, device="cpu").to(digits.device)
    return torch.cat((digits, 2.0 * more - 1.0))[:num_classes]
