"""DeepFace layer by layer, and its locally connected layers."""

import pytest
import torch
from torch.testing import assert_close

import layers
import models


@pytest.mark.parametrize(
    ("layer", "shape", "parameters"),
    [
        ("c1", (32, 142, 142), 11_648),
        ("m2", (32, 71, 71), 0),
        ("c3", (16, 63, 63), 41_488),
        ("l4", (16, 55, 55), 55 * 55 * 16 * (9 * 9 * 16 + 1)),
        ("l5", (16, 25, 25), 25 * 25 * 16 * (7 * 7 * 16 + 1)),
        ("l6", (16, 21, 21), 21 * 21 * 16 * (5 * 5 * 16 + 1)),
        ("f7", (4096,), 28_905_472),
        ("f8", (4030,), 16_510_910),
    ],
)
@pytest.mark.parametrize("nn", [layers, torch.nn], ids=["custom", "torch"])
def test_deepface_layer_by_layer(layer, shape, parameters, nn):
    with torch.device("meta"):
        network = models.build("deepface", nn=nn)
        module = getattr(network, layer)
        shapes = []
        module.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape[1:])))
        network(torch.empty(2, 3, 152, 152))
    assert shapes == [shape]
    assert sum(p.numel() for p in module.parameters()) == parameters
    if layer[0] == "l":
        assert isinstance(module[0], layers.LocallyConnected2d)


def test_deepface_parameters_against_the_paper():
    """Over 95 % of them are in L and F, as it says, but there are fewer than 120 million."""
    with torch.device("meta"):
        network = models.build("deepface")
    convolutions = sum(p.numel() for part in (network.c1, network.c3) for p in part.parameters())
    total = sum(p.numel() for p in network.parameters())
    assert 1 - convolutions / total > 0.999
    assert 0.99 * 120e6 < total < 120e6


def test_deepface_receptive_field_has_73_pixels():
    """The paper says 74.  With positive weights, every pixel it contains has a gradient."""
    network = models.build("deepface", image_size=80, num_classes=2)
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 0.01)
    network.m2 = layers.AvgPool2d(
        3, stride=2, ceil_mode=True
    )  # a maximum passes gradient to one pixel only
    x = torch.ones(1, 3, 80, 80, requires_grad=True)
    maps = network.l6(network.l5(network.l4(network.c3(network.m2(network.c1(x))))))
    (grad,) = torch.autograd.grad(maps[0, 0, 0, 0], x)
    rows = grad[0, 0].any(1)
    assert rows.sum() == 73
    assert rows[:73].all()


def test_deepface_weights_depend_on_the_position():
    """A shifted image gives shifted maps in C3, but not in L4."""
    network = models.build("deepface", image_size=81, num_classes=2)
    x = torch.randn(1, 3, 85, 81)
    above, below = (network.c3(network.m2(network.c1(x[:, :, row : row + 81]))) for row in (0, 4))
    assert_close(above[:, :, 2:], below[:, :, :-2])
    y, z = network.l4(above), network.l4(below)
    assert not torch.allclose(y[:, :, 2:], z[:, :, :-2], atol=1e-2)


@pytest.mark.parametrize(("init", "bias"), [("paper", 0.5), ("kaiming", 0.0)])
def test_deepface_initialisation(init, bias):
    network = models.build("deepface", image_size=80, num_classes=20, init=init)
    fan_in = dict(c1=363, c3=2592, l4=1296, l5=784, l6=400, f7=144)
    for name, size in fan_in.items():
        std = 0.01 if init == "paper" else (2 / size) ** 0.5
        layer = getattr(network, name)[0]
        assert layer.weight.std().item() == pytest.approx(std, rel=0.05)
        assert (layer.bias == bias).all()
    assert network.f8.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert (network.f8.bias == bias).all()


def test_deepface_refuses_an_unknown_initialisation():
    with pytest.raises(ValueError, match='init must be "kaiming" or "paper", got \'xavier\''):
        models.build("deepface", image_size=72, init="xavier")


def test_deepface_in_channels_last():
    network = models.build("deepface", num_classes=10, image_size=72).eval()
    x = torch.randn(1, 3, 72, 72)
    expected = network(x)
    network.to(memory_format=torch.channels_last)
    assert network.c1[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert network.l4[0].weight.is_contiguous()
    x = x.contiguous(memory_format=torch.channels_last)
    assert_close(network(x), expected, rtol=1e-4, atol=1e-4)
