"""A network to be looked at is the one that was trained, and starts where its training did."""

import dataclasses
from contextlib import ExitStack

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import models
from models import pretrained
from training import checkpoint
from training.errors import UserError
from training.fit import fit
from training.loaded_network import load_network, load_run
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
    "model", ["lenet", "lenet5", "INPUT -> LOCAL4-4s2p1 -> RELU -> DROPOUT -> FC", "resnet20"]
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


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """torch.hub's folder, in which torchvision's weights are: random ones."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    network = torchvision.models.resnet18()
    torch.save(network.state_dict(), tmp_path / "checkpoints" / "resnet18-f37072fd.pth")
    return network.eval()


def test_imagenet_weights_come_with_their_classes_and_their_pixels(cache):
    """As torchvision itself classifies a photograph."""
    network = load_network("resnet18", weights="imagenet")
    weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    assert network.classes == weights.meta["categories"]
    generator = np.random.default_rng(0)
    coarse = Image.fromarray(generator.integers(0, 255, (9, 12, 3), dtype=np.uint8))
    picture = coarse.resize((400, 300), Image.Resampling.BICUBIC)
    seen, wanted = network.sees(network.pixels(picture)[None]), weights.transforms()(picture)[None]
    assert seen.shape == wanted.shape
    assert (seen - wanted).abs().max() < 0.02  # a grey level is 0.017
    with torch.no_grad():
        theirs = cache(seen.contiguous())
    torch.testing.assert_close(network.logits(network.pixels(picture)[None]), theirs)


def test_torchvision_s_weights_never_see_grey_levels(tmp_path):
    """Whatever our recipe for the network divides by."""
    name = "googlenet_bn"
    assert recipe(name, "imagefolder").std == (1 / 255,) * 3
    options = pretrained.builder_options(name)
    torch.save(models.build(name, num_classes=7, **options).state_dict(), tmp_path / "x.pth")
    network = load_network(name, weights=str(tmp_path / "x.pth"))
    assert network.options.std == (0.229, 0.224, 0.225)
    assert network.model.transform_input
    assert network.classes == [f"class {i}" for i in range(7)]
    expected = torch.load(tmp_path / "x.pth")
    assert all(torch.equal(value, expected[k]) for k, value in network.model.state_dict().items())


def test_weights_of_a_run_are_seen_as_it_was_trained(quick):
    fit(dataclasses.replace(quick, epochs=1))
    folder = quick.logdir / "lenet-digits"
    network = load_network("lenet", weights=str(folder), layers="torch")
    assert network.options.image_size == 16
    assert network.classes == list("0123456789")
    assert not isinstance(network.model.features[0], type(load_run(folder).model.features[0]))
    with pytest.raises(UserError, match=r"best\.pt has the weights of lenet, not of lenet5"):
        load_network("lenet5", weights=str(folder))


def test_what_is_no_network():
    with pytest.raises(UserError, match="unknown model 'resnet19': did you mean resnet1"):
        load_network("resnet19", weights="imagenet")
