"""Networks by their run or by their name, with the pixels that their weights were trained on."""

import dataclasses

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import models
from models import pretrained
from training import fit
from training.errors import UserError
from training.inspection.loaded_network import load_network, load_run
from training.recipes import recipe


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
    fit.fit(dataclasses.replace(quick, epochs=1))
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
    with pytest.raises(UserError, match="neither a run, a checkpoint nor a network"):
        load_network("runs/absent")
    with pytest.raises(UserError, match=r"--weights absent\.pt: there is no file absent\.pt"):
        load_network("lenet", weights="absent.pt")
