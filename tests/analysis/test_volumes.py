"""Every volume of a network by name, and those that a picture has room for."""

import pytest
import torch

import models
from analysis.volumes import choose, finished, volume, volumes
from analysis.walk import walk

SIZES = {"lenet": 32, "lenet5": 32, "resnet20": 32, "allcnn_c": 32, "deepface": 152}
CHANNELS = {"lenet": 1, "lenet5": 1}


def seen(name):
    size, channels = SIZES.get(name, 224), CHANNELS.get(name, 3)
    with torch.device("meta"):
        net = models.build(name, in_channels=channels, image_size=size).eval()
        return net, volumes(net, torch.empty(1, channels, size, size))[0]


@pytest.mark.parametrize("name", ["lenet", "alexnet", "resnet18", "googlenet"])
def test_names_and_sizes_are_the_walk_s(name):
    net, found = seen(name)
    size = SIZES.get(name, 224)
    calls = walk(net, (1, CHANNELS.get(name, 3), size, size))
    layers = {call.name: call.shape for call in calls if call.module is not None}
    both = layers.keys() & found.keys()
    assert len(both) > 0.8 * len(layers)
    assert {name: found[name].x.shape for name in both} == {name: layers[name] for name in both}


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("lenet", [*(f"features.{i}" for i in range(6)), *(f"classifier.{i}" for i in range(5))]),
        ("lenet5", ["c1.1", "s2.1", "c3.1", "s4.1", "c5.1", "f6.1", "output"]),
        ("alexnet", [*(f"features.{i}" for i in (3, 4, 7, 8, 10, 12, 14, 15)),
                     *(f"classifier.{i}" for i in (1, 4, 6))]),
        ("vgg16", [*(f"features.{i}" for i in (3, 8, 15, 22, 29, 30)),
                   *(f"classifier.{i}" for i in (1, 4, 6))]),
        ("resnet18", ["relu", "maxpool", *(f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1)),
                      "avgpool", "fc"]),
        ("resnet50", ["relu", "layer1.2", "layer2.3", "layer3.5", "layer4.2", "avgpool", "fc"]),
    ],
)  # fmt: skip
def test_what_a_picture_shows(name, chosen):
    assert [v.name for v in choose(*seen(name), 12)] == chosen


@pytest.mark.parametrize("most", [1, 2, 5])
def test_never_more_than_there_is_room_for(most):
    net, found = seen("vgg16")
    chosen = choose(net, found, most)
    assert len(chosen) == most
    assert most == 1 or chosen[-1].name == "classifier.6"


def test_finished_volumes_are_no_inputs_of_activation_functions():
    assert [v.name for v in finished(*seen("lenet"))] == [
        "features.1", "features.2", "features.4", "features.5",
        "classifier.1", "classifier.3", "classifier.4",
    ]  # fmt: skip


def test_one_volume_and_nothing_behind_it():
    net = models.build("lenet").eval()
    net.classifier[0].forward = None  # would raise if it were called
    x = torch.randn(2, 1, 32, 32)
    y = volume(net, "features.4", x)
    assert torch.equal(y, net.features[:5](x))
    assert not any(module._forward_hooks for module in net.modules())
    with pytest.raises(TypeError):
        volume(net, "features.40", x)


def test_the_second_call_of_a_layer_has_a_name_of_its_own():
    net = models.build("resnet20", in_channels=1, image_size=16).eval()
    x = torch.randn(1, 1, 16, 16)
    assert torch.equal(volume(net, "layer1.0.relu#2", x), volume(net, "layer1.0", x))
    with pytest.raises(KeyError):
        volume(net, "layer1.0.relu#3", x)
