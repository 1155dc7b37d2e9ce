"""The strongest activations of every map, whatever the batches."""

import pytest
import torch

import models
from analysis.strongest import strongest
from analysis.volumes import volume

NET = models.build("lenet").eval()
IMAGES = torch.randn(23, 1, 32, 32, generator=torch.Generator().manual_seed(0))
LAYER = "features.4"


@pytest.mark.parametrize("size", [1, 4, 23])
def test_they_are_the_best_of_all(size):
    numbers = torch.arange(100, 123)
    batches = zip(IMAGES.split(size), numbers.split(size), strict=True)
    found = strongest(NET, LAYER, batches, 9)
    y = volume(NET, LAYER, IMAGES).detach()
    for number in range(y.shape[1]):
        best = y[:, number].flatten(1).amax(1).sort(descending=True)
        torch.testing.assert_close(found.values[number], best.values[:9])
        at = found.images[number] - 100, *found.units[number].unbind(1)
        torch.testing.assert_close(y[at], found.values[number])
        assert len(found.images[number].unique()) == 9
        assert (found.units[number, :, 0] == number).all()


def test_fewer_images_than_asked_for():
    found = strongest(NET, LAYER, [(IMAGES[:2], torch.arange(2))])
    assert found.values.shape == found.images.shape == (16, 2)


def test_a_layer_without_maps():
    with pytest.raises(ValueError, match="has no maps"):
        strongest(NET, "classifier.0", [(IMAGES[:2], torch.arange(2))])
    with pytest.raises(ValueError, match="no images"):
        strongest(NET, LAYER, [])
