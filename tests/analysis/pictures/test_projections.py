"""Patches are the pixels that a unit sees."""

import numpy as np
import torch

from analysis.pictures.projections import OUTSIDE, Map, crop, draw
from analysis.receptive_field import ReceptiveField

IMAGE = np.random.default_rng(0).random((6, 6, 3))


def test_a_patch_within_and_across_the_border():
    assert np.array_equal(crop(IMAGE, (1, 2, 4, 6)), IMAGE[1:4, 2:6])
    patch = crop(IMAGE, (-2, 3, 2, 8))
    assert np.array_equal(patch[2:, :3], IMAGE[:2, 3:])
    assert (patch[:2] == OUTSIDE).all()
    assert (patch[:, 3:] == OUTSIDE).all()
    assert crop(IMAGE, (-3, 0, -1, 2)).shape == (2, 2, 3)
    assert (crop(IMAGE, (7, 0, 9, 2)) == OUTSIDE).all()


def test_each_patch_stands_beside_its_projections():
    images, units = torch.rand(9, 1, 12, 12), torch.zeros(9, 3, dtype=torch.long)
    units[:, 1:] = torch.arange(9)[:, None] % 4
    field = ReceptiveField((4, 4), (2, 2), (-1, -1))
    found = {"deconvnet": torch.randn(9, 1, 12, 12), "gradient": torch.randn(9, 1, 12, 12)}
    one = Map(5, images, units, field, found)
    assert [*one.grids] == ["patch", "deconvnet", "gradient"]
    np.testing.assert_allclose(one.grids["patch"][2][..., 0], images[2, 0, 3:7, 3:7], rtol=1e-6)
    whole = Map(5, images, units, None, found)
    assert whole.grids["patch"][2].shape == (12, 12, 3)
    sheet = draw("title", "words", [one, one, one])
    words = [text.get_text() for text in sheet.figure.texts]
    assert words.count("map 5") == words.count("gradient") == 3
