"""Larger images than a network was trained on: several crops, or every place in one pass."""

import dataclasses

import pytest
import torch
from torchvision.transforms.v2 import functional

import models
from training.errors import UserError
from training.evaluation.evaluate_checkpoint import evaluate_checkpoint, report
from training.evaluation.views import CropAverage, Views
from training.fit import fit
from training.recipes import recipe


@pytest.fixture
def run(quick):
    fit(dataclasses.replace(quick, name="run", epochs=1))
    return quick.logdir / "run"


def test_crops_are_averaged():
    model = models.build("lenet", num_classes=5).double().eval()
    x = torch.randn(3, 1, 40, 36, dtype=torch.float64)
    with torch.no_grad():
        for crops, cut in ((5, functional.five_crop), (10, functional.ten_crop)):
            expected = sum(model(crop).softmax(1) for crop in cut(x, [32, 32])) / crops
            assert torch.allclose(CropAverage(model, 32, crops)(x).exp(), expected)
        centre = CropAverage(model, 32, 1)(x)
        assert torch.equal(centre, model(x[:, :, 4:36, 2:34]))


def test_one_look_is_as_in_training(run):
    assert evaluate_checkpoint(run)["views"] is None
    size = recipe("lenet", "digits").image_size
    assert Views().size(dataclasses.replace(recipe("lenet", "digits"))) == size


def test_densely(run):
    found = evaluate_checkpoint(run, views=Views(image_size=24, dense=True, shifts=2))
    assert found["images"] == 360
    assert found["views"]["places"] == (5, 5)
    assert found["views"]["passes"] == 4
    assert "views        24 x 24 pixels, 5 x 5 places in 4 pass(es)" in report(found)


def test_by_crops(run):
    found = evaluate_checkpoint(run, views=Views(image_size=20, crops=10))
    assert found["views"] == {"image_size": 20, "crops": 10}
    assert "20 x 20 pixels, 10 crop(s)" in report(found)


@pytest.mark.parametrize(
    ("views", "words"),
    [
        (Views(dense=True, crops=5), "give one of them"),
        (Views(shifts=2), "--shifts is for --dense"),
        (Views(image_size=8), "--image-size 8 is smaller than the network"),
        (Views(dense=True, shifts=3), "--dense: the network has a stride of 4 pixels"),
    ],
)
def test_what_cannot_be_seen_so(run, views, words):
    with pytest.raises(UserError, match=words):
        evaluate_checkpoint(run, views=views)
