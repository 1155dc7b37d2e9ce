"""Pixels are where they belong, and nothing is blurred."""

import numpy as np
import torch
from PIL import Image

from analysis.pictures import colours
from analysis.pictures.sheet import DENSITY, Sheet


def test_an_image_is_enlarged_without_blur(tmp_path):
    sheet = Sheet(100, 60)
    checks = np.array([[[0, 0, 0], [1, 0, 0]], [[0, 1, 0], [0, 0, 1.0]]])
    sheet.image(checks, 10, 20, 30, 30)
    sheet.save(tmp_path / "a.png")
    saved = np.asarray(Image.open(tmp_path / "a.png"))
    assert saved.shape == (60 * DENSITY, 100 * DENSITY, 3)
    inside = saved[20 * DENSITY : 50 * DENSITY, 10 * DENSITY : 40 * DENSITY]
    half = 15 * DENSITY
    expected = (255 * checks).repeat(half, 0).repeat(half, 1)
    assert np.array_equal(inside, expected)
    outside = saved.copy()
    outside[20 * DENSITY : 50 * DENSITY, 10 * DENSITY : 40 * DENSITY] = 255
    assert (outside == 255).all()


def test_zero_is_white_or_black():
    x = torch.tensor([[[-2.0, 0, 1]]])
    signed = colours.signed(x)[0, 0]
    assert signed[0, 2] > signed[0, 0]  # blue
    assert (signed[1] > 0.95).all()
    assert signed[2, 0] > signed[2, 2]  # red
    assert colours.unsigned(x.relu())[0, 0].tolist() == [[0] * 3, [0] * 3, [1] * 3]


def test_colours_stay_colours():
    x = torch.zeros(3, 2, 2)
    x[0], x[2] = 1, -1
    assert colours.contrast(x)[0, 0].tolist() == [1, 0.5, 0]
    assert colours.colour(x.clamp(min=0))[1, 1].tolist() == [1, 0, 0]
    assert colours.unsigned(torch.zeros(1, 2, 2)).max() == 0  # and no division by zero
