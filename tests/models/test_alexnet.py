"""AlexNet layer by layer, and against two separate towers."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import layers
import models
from models.alexnet import CeilPadding, response_norm


def named_layers(network):
    """The layers with weights, conv1 to fc8, by name."""
    weighted = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    names = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
    return dict(zip(names, weighted, strict=True))


# Section 3.5 and Fig. 2 of the paper
@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        ("conv1", (96, 55, 55), 34_944),
        ("conv2", (256, 27, 27), 307_456),
        ("conv3", (384, 13, 13), 885_120),
        ("conv4", (384, 13, 13), 663_936),
        ("conv5", (256, 13, 13), 442_624),
        ("fc6", (4096,), 37_752_832),
        ("fc7", (4096,), 16_781_312),
        ("fc8", (1000,), 4_097_000),
    ],
)
def test_layer_by_layer(name, shape, parameters):
    with torch.device("meta"):
        network = models.build("alexnet")
    layer = named_layers(network)[name]
    outputs = {}
    layer.register_forward_hook(lambda _, __, y: outputs.update(y=y))
    network(torch.empty(1, 3, 224, 224, device="meta"))
    assert tuple(outputs["y"].shape[1:]) == shape
    assert sum(p.numel() for p in layer.parameters()) == parameters


@pytest.mark.parametrize("size", [224, 227, 51, 52, 53, 54])
def test_conv1_rounds_up_as_cuda_convnet_does(size):
    """1 + ceil((size - 11) / 4) windows; the image is padded at the bottom and right."""
    x = torch.ones(1, 1, size, size)
    padded = CeilPadding(11, stride=4)(x)
    windows = 1 + -(-(size - 11) // 4)
    assert padded.shape[-2:] == (11 + 4 * (windows - 1),) * 2
    assert torch.equal(padded[..., :size, :size], x)
    assert padded.sum() == x.sum()
    if size == 224:
        assert padded.shape[-1] == 227


def test_padding_depends_on_the_image():
    """Not on the image size for which the network was built."""
    assert CeilPadding(11, stride=4)(torch.zeros(1, 1, 224, 256)).shape[-2:] == (227, 259)


def test_response_norm_divides_alpha_by_n():
    """k + (alpha / n) * sum of squares over five maps, k = 2."""
    a = 10 * torch.randn(1, 8, 1, 1, dtype=torch.float64)
    total = a[0, 1:6].square().sum()
    expected = a[0, 3] / (2 + 1e-4 / 5 * total) ** 0.75
    for nn in (layers, torch.nn):
        assert_close(response_norm(nn)(a)[0, 3], expected)


def test_two_towers_give_the_same_logits():
    """Each tower has half of each layer's filters, and reads the other's maps only in conv3."""
    network = models.build("alexnet", image_size=80, num_classes=5).double().eval()
    layer = named_layers(network)
    for parameter in network.parameters():
        parameter.data.normal_(std=0.1)

    def convolve(name, tower, x, **options):
        weight, bias = layer[name].weight.chunk(2)[tower], layer[name].bias.chunk(2)[tower]
        return F.relu(F.conv2d(x, weight, bias, **options))

    def norm_pool(x):
        return F.max_pool2d(F.local_response_norm(x, 5, 1e-4, 0.75, 2.0), 3, 2, ceil_mode=True)

    x = 20 * torch.randn(2, 3, 80, 80, dtype=torch.float64)
    padded = F.pad(x, (0, 3, 0, 3))  # 83 = 11 + 18 * 4
    maps = [norm_pool(convolve("conv1", tower, padded, stride=4)) for tower in (0, 1)]
    maps = [norm_pool(convolve("conv2", tower, maps[tower], padding=2)) for tower in (0, 1)]
    both = torch.cat(maps, 1)
    maps = [convolve("conv3", tower, both, padding=1) for tower in (0, 1)]
    for name in ("conv4", "conv5"):
        maps = [convolve(name, tower, maps[tower], padding=1) for tower in (0, 1)]
    pooled = [F.max_pool2d(m, 3, 2, ceil_mode=True) for m in maps]
    expected = network.classifier(torch.cat(pooled, 1).flatten(1))
    assert_close(network(x), expected, rtol=1e-9, atol=1e-9 * expected.abs().max().item())


def test_initialisation():
    """Section 5: N(0, 0.01^2), and biases of 1 for some layers."""
    for name, layer in named_layers(models.build("alexnet", image_size=64)).items():
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.02)
        assert abs(layer.weight.mean().item()) < 5e-4
        ones = name in ("conv2", "conv4", "conv5", "fc6", "fc7")
        assert torch.all(layer.bias == (1.0 if ones else 0.0))


def test_dropout_follows_fc6_and_fc7():
    network = models.build("alexnet", image_size=64, dropout=1.0)
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(network.train()(x)[0], network.classifier[-1].bias)
    assert not torch.equal(network.eval()(x)[0], network.classifier[-1].bias)
