"""torch.hub finds every network in a copy of this repository."""

from functools import partial
from pathlib import Path

import pytest
import torch

import layers
import models

ROOT = str(Path(__file__).parent.parent)


@pytest.fixture
def here(monkeypatch):
    """torch.hub.list and help know no source="local": let them find this copy."""
    monkeypatch.setattr(torch.hub, "_get_cache_or_reload", lambda *_, **__: ROOT)
    return "owner/name"


def load(name, **options):
    return torch.hub.load(ROOT, name, source="local", **options)


def test_every_network_is_listed_with_its_description(here, monkeypatch):
    monkeypatch.setitem(models.MODELS, "lenet_40", partial(models.MODELS["lenet"], image_size=40))
    assert set(torch.hub.list(here)) == set(models.MODELS)
    for name, builder in models.MODELS.items():
        text = torch.hub.help(here, name)
        assert getattr(builder, "func", builder).__doc__ in text
        assert "weights: None for fresh ones" in text
    assert "This one: image_size=40." in torch.hub.help(here, "lenet_40")
    assert load("lenet_40")(torch.randn(1, 1, 40, 40)).shape == (1, 10)


def test_either_layer_set_and_the_network_s_own_arguments():
    assert isinstance(load("lenet").features[0], layers.Conv2d)
    network = load("lenet", layers="torch", num_classes=3, in_channels=2)
    assert type(network.features[0]) is torch.nn.Conv2d
    assert network(torch.randn(1, 2, 32, 32)).shape == (1, 3)
    with pytest.raises(ValueError, match="layers must be custom or torch, got 'jax'"):
        load("lenet", layers="jax")
    with pytest.raises(ValueError, match=r"got 'reference': .* `with layers\.reference"):
        load("lenet", layers="reference")
    with pytest.raises(TypeError, match="colour"):
        load("lenet", colour="red")


def test_weights(tmp_path):
    source = models.build("lenet")
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    network = load("lenet", weights=str(tmp_path / "weights.pth"))
    x = torch.randn(2, 1, 32, 32)
    assert torch.equal(network(x), source(x))
    fewer = load("lenet", weights=tmp_path / "weights.pth", num_classes=3)
    assert torch.equal(fewer.features(x), source.features(x))
    with pytest.raises(ValueError, match="no ImageNet weights for lenet"):
        load("lenet", weights="imagenet")
