"""A network to be looked at is the one that was trained, and starts where its training did."""

import dataclasses
from contextlib import ExitStack

import pytest
import torch
from PIL import Image

import models
from training.checkpoints import checkpoint
from training.errors import UserError
from training.fit import fit
from training.inspection.loaded_network import load_network
from training.recipes import recipe
from training.setup import set_up


def trained(options):
    """The folder of a run of two steps, and the weights that it started from."""
    with ExitStack() as resources:
        start = set_up(dataclasses.replace(options, name="start"), resources).state.model
        weights = {key: value.clone() for key, value in start.state_dict().items()}
    fit(dataclasses.replace(options, name="run", epochs=1, limit_steps=2))
    return options.logdir / "run", weights


def same(first, second):
    return all(torch.equal(first[key], second[key]) for key in [*first, *second])


@pytest.mark.parametrize(
    "model", ["lenet", "lenet5", "INPUT -> LOCAL4-4s2p1 -> RELU -> DROPOUT -> FC"]
)
def test_before_training_it_is_what_training_started_from(model, quick):
    image_size = 32 if model == "lenet5" else quick.image_size
    options = dataclasses.replace(recipe(model, "digits"), logdir=quick.logdir, seed=3)
    folder, start = trained(dataclasses.replace(options, image_size=image_size))
    loaded = load_network(str(folder))
    assert loaded.step == 2
    assert loaded.folder == folder
    assert same(loaded.before_training().state_dict(), start)
    assert not same(loaded.model.state_dict(), start)
    assert same(loaded.model.state_dict(), checkpoint.load(folder / "best.pt")[1]["model"])
    assert not loaded.model.training


def test_training_that_started_from_weights_starts_from_them_again(quick):
    folder, _ = trained(quick)
    again = dataclasses.replace(quick, weights=str(folder), logdir=quick.logdir / "tuned", ema=0.5)
    tuned, start = trained(again)
    assert same(load_network(str(tuned / "last.pt")).before_training().state_dict(), start)
    assert same(load_network(str(folder)).model.state_dict(), start)
    (folder / "best.pt").unlink()
    with pytest.raises(UserError, match="--weights"):
        load_network(str(tuned)).before_training()


def test_scores_without_a_class_have_numbers(quick):
    folder, start = trained(dataclasses.replace(quick, num_classes=12))
    loaded = load_network(str(folder))
    assert loaded.classes == [*"0123456789", "class 10", "class 11"]
    assert same(loaded.before_training().state_dict(), start)


def test_a_network_by_its_name():
    loaded = load_network("lenet", seed=5)
    assert loaded.options.data == "digits"
    assert loaded.classes == list("0123456789")
    torch.manual_seed(5)
    assert same(loaded.model.state_dict(), models.build("lenet").state_dict())
    image, truth = loaded.image("3")
    assert image.shape == (1, 32, 32)
    assert truth == loaded.test_set[3][1]
    assert loaded.sees(image[None]).shape == (1, 1, 32, 32)
    assert [len(which) for _, which in loaded.batches(7, 5)] == [5, 2]


def test_weights_from_a_file(tmp_path):
    torch.manual_seed(9)
    state = models.build("lenet").state_dict()
    torch.save(state, tmp_path / "weights.pt")
    loaded = load_network("lenet", weights=str(tmp_path / "weights.pt"))
    assert same(loaded.model.state_dict(), state)
    assert "weights.pt" in loaded.origin


def test_a_photograph_is_cut_as_for_evaluation(tmp_path):
    Image.new("RGB", (300, 500), (255, 0, 0)).save(tmp_path / "red.png")
    loaded = load_network("resnet18")
    assert loaded.options.data == "imagefolder"
    assert len(loaded.classes) == 1000
    image, truth = loaded.image(str(tmp_path / "red.png"))
    assert image.shape == (3, 224, 224)
    assert truth is None
    assert image[0].min() == 255
    assert image[1:].max() == 0
    assert load_network("lenet").image(str(tmp_path / "red.png"))[0].shape == (1, 32, 32)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "absent"}, "absent is neither a run, a checkpoint nor a network"),
        ({"name": "lenet", "weights": "absent.pt"}, "there is no file absent.pt"),
        ({"name": "lenet", "weights": "imagenet"}, "no ImageNet weights for lenet"),
        ({"name": "README.md"}, "README.md is not a readable checkpoint"),
        ({"name": "README.md", "weights": "imagenet"}, "README.md has its own"),
    ],
)
def test_what_cannot_be_loaded(arguments, words):
    with pytest.raises(UserError, match=words):
        load_network(**arguments)


def test_no_such_image():
    with pytest.raises(UserError, match="digits has 360 test images, from 0"):
        load_network("lenet").image("360")
    with pytest.raises(UserError, match="cannot be read as an image"):
        load_network("lenet").image("absent.png")
