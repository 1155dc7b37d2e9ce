"""ZFNet layer by layer, and the renormalisation of its filters."""

import pytest
import torch
from torch.testing import assert_close

import models
from models.zfnet import renormalize_filters


def test_sizes_of_figure_3():
    """110, 55, 26, 13 and 6 pixels; ReLU, then pooling, then normalisation."""
    with torch.device("meta"):
        features = models.build("zfnet").features
    x, seen = torch.empty(1, 3, 224, 224, device="meta"), []
    for layer in features:
        x = layer(x)
        seen.append((type(layer).__name__, *x.shape[1:3]))
    block = ["Conv2d", "ReLU"]
    pooled = ["CeilPadding", *block, "MaxPool2d", "LocalResponseNorm"]
    assert [name for name, *_ in seen] == [*pooled, *pooled, *block * 3, "MaxPool2d"]
    assert [size[1:] for size in seen if size[0] in ("Conv2d", "MaxPool2d")] == [
        (96, 110), (96, 55), (256, 26), (256, 13), (384, 13), (384, 13), (256, 13), (256, 6),
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "filters"), [("zfnet", 384), ("zfnet_512", 512)])
def test_parameters_layer_by_layer(name, filters):
    with torch.device("meta"):
        network = models.build(name)
    found = [
        sum(p.numel() for p in m.parameters()) for m in (*network.features, *network.classifier)
    ]
    if name == "zfnet":
        expected = [14_208, 614_656, 885_120, 1_327_488, 884_992, 37_752_832, 16_781_312, 4_097_000]
        assert [number for number in found if number] == expected
    convolutions = [m for m in network.features if isinstance(m, torch.nn.Conv2d)]
    assert convolutions[2].out_channels == filters
    assert all(convolution.groups == 1 for convolution in convolutions)


def test_initialisation():
    for module in models.build("zfnet", image_size=64).modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.01, rel=0.02)
            assert not module.bias.any()


def rms(weight):
    return weight.flatten(1).square().mean(1).sqrt()


def test_filters_beyond_the_radius_are_scaled_down_to_it():
    network = models.build("zfnet", image_size=64)
    conv1, conv2 = [m for m in network.features if isinstance(m, torch.nn.Conv2d)][:2]
    conv1.weight.data[::2] *= 40  # RMS about 0.4
    conv2.weight.data[7] *= 11
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.after_step()
    after = network.state_dict()
    assert_close(rms(conv1.weight[::2]), torch.full((48,), 0.1))
    assert_close(rms(conv2.weight[7:8]), torch.tensor([0.1]))
    first = before["features.1.weight"]
    directions = torch.nn.functional.cosine_similarity(conv1.weight.flatten(1), first.flatten(1))
    assert_close(directions, torch.ones(96))
    assert torch.equal(conv1.weight[1::2], first[1::2])  # those within are unchanged
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"features.1.weight", "features.6.weight"}


def test_another_radius():
    convolution = torch.nn.Conv2d(3, 8, 3)
    torch.nn.init.normal_(convolution.weight)
    renormalize_filters(convolution, radius=0.5)
    assert_close(rms(convolution.weight), torch.full((8,), 0.5))
