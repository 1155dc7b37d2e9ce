"""The grey square visits every pixel, in batches of any size."""

import pytest
import torch

from analysis.occlusion import occlude

IMAGE = torch.arange(35, dtype=torch.uint8).reshape(1, 5, 7)


def pixels(images):
    """Instead of a network's answers: the images themselves."""
    return images.flatten(1).float()


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_the_square_is_centred_on_each_place(batch_size):
    covered = occlude(pixels, IMAGE, 3, 1, grey=200, batch_size=batch_size).view(5, 7, 5, 7)
    for row in range(5):
        for column in range(7):
            expected = IMAGE[0].float()
            expected[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = 200
            assert torch.equal(covered[row, column], expected)
    assert IMAGE.max() == 34  # the image itself stays as it is


def test_the_stride_and_a_square_larger_than_the_image():
    assert occlude(pixels, IMAGE, 2, 3).shape == (2, 3, 35)
    assert (occlude(pixels, IMAGE, 99, 1, grey=7) == 7).all()
