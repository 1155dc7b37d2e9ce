"""LeNet-5 layer by layer, its initialisation, output codes and loss."""

import pytest
import torch
from torch.testing import assert_close

import layers
import models
from models.glyphs import output_codes
from models.lenet import C3_TABLE, MAPLoss
from models.sizing import feature_shape

each_network = pytest.mark.parametrize("name", ["lenet", "lenet5"])


@each_network
@pytest.mark.parametrize(
    ("size", "channels", "classes"), [(28, 1, 10), (40, 3, 7), ((32, 48), 1, 100)]
)
def test_any_image_and_any_number_of_classes(name, size, channels, classes):
    network = models.build(name, image_size=size, in_channels=channels, num_classes=classes)
    height, width = (size, size) if isinstance(size, int) else size
    assert network(torch.randn(2, channels, height, width)).shape == (2, classes)


def test_an_error_that_no_image_size_avoids_is_raised():
    with pytest.raises(RuntimeError, match="read 5 channels"):
        feature_shape(layers.Conv2d(5, 1, 3), 1, 4)


# Section II-B of the paper: parameters and connections layer by layer
@pytest.mark.parametrize(
    ("layer", "parameters", "shape", "connections"),
    [
        ("c1", 156, (6, 28, 28), 122_304),
        ("s2", 12, (6, 14, 14), 5_880),
        ("c3", 1_516, (16, 10, 10), 151_600),
        ("s4", 32, (16, 5, 5), 2_000),
        ("c5", 48_120, (120, 1, 1), 48_120),
        ("f6", 10_164, (84,), 10_164),
        ("output", 0, (10,), 840),
    ],
)
def test_lenet5_layer_by_layer(layer, parameters, shape, connections):
    network = models.build("lenet5")
    outputs = {}
    module = getattr(network, layer)
    module.register_forward_hook(lambda _, __, y: outputs.update(y=y))
    network(torch.randn(1, 1, 32, 32))
    assert tuple(outputs["y"].shape[1:]) == shape
    assert sum(p.numel() for p in module.parameters()) == parameters
    positions = shape[1] * shape[2] if len(shape) == 3 else 1
    counted = {"s2": 6 * 14 * 14 * 5, "s4": 16 * 5 * 5 * 5, "output": 840}
    assert counted.get(layer, parameters * positions) == connections


def test_table_1():
    assert [len(maps) for maps in C3_TABLE] == [3] * 6 + [4] * 9 + [6]
    assert [sum(i in maps for maps in C3_TABLE) for i in range(6)] == [10] * 6


def test_c3_maps_depend_only_on_their_inputs():
    c3 = models.build("lenet5").c3[0]
    x = torch.randn(1, 6, 14, 14, requires_grad=True)
    for output, maps in enumerate(C3_TABLE):
        (grad,) = torch.autograd.grad(c3(x)[0, output].sum(), x)
        assert {i for i in range(6) if grad[0, i].any()} == set(maps)


def test_squash():
    squash = models.lenet.Squash(layers)
    a = torch.tensor([1.0, -1.0, 100.0])
    assert_close(squash(a), torch.tensor([1.0, -1.0, 1.7159]), atol=1e-4, rtol=0)


def test_subsampling_sums_four_pixels_and_scales():
    s2 = models.build("lenet5").s2[0]
    x = torch.randn(1, 6, 28, 28)
    expected = s2.weight[2] * x[0, 2, 4:6, 6:8].sum() + s2.bias[2]
    assert_close(s2(x)[0, 2, 2, 3], expected)


def test_initialisation_is_uniform_in_plus_minus_2_4_over_fan_in():
    network = models.build("lenet5")
    for module, fan_in in ((network.c1[0], 25), (network.c5[0], 400), (network.f6[0], 120)):
        assert 0.9 * 2.4 / fan_in < module.weight.abs().max() <= 2.4 / fan_in
    c3 = network.c3[0]
    for maps in (3, 4, 6):
        weights = c3.weight[c3.fan_in[c3.outputs] == maps]
        assert 0.9 * 2.4 / (25 * maps) < weights.abs().max() <= 2.4 / (25 * maps)


def test_output_codes_are_distinct_bitmaps():
    codes = output_codes(12)
    assert codes.shape == (12, 84)
    assert set(codes.flatten().tolist()) == {-1.0, 1.0}
    distances = torch.cdist(codes, codes, p=0) + 84 * torch.eye(12)
    assert distances.min() >= 8
    assert torch.equal(output_codes(12)[:10], output_codes(10))
    seven = codes[7].view(12, 7)
    assert seven[0].tolist() == [1.0] * 7  # the bar of the 7


def test_logits_are_negative_squared_distances():
    network = models.build("lenet5")
    states = torch.randn(1, 84)
    distance = (states - network.output.codes[3]).square().sum()
    assert_close(network.output(states)[0, 3], -distance)


def test_map_loss_equals_the_paper_s():
    """E = y_target + log(exp(-j) + sum of exp(-y))."""
    y, targets, j = torch.rand(5, 10) * 20, torch.tensor([0, 1, 2, 3, 9]), 10.0
    total = torch.exp(torch.tensor(-j)) + torch.exp(-y).sum(1)
    expected = (y[torch.arange(5), targets] + total.log()).mean()
    assert_close(MAPLoss(rubbish=j)(-y, targets), expected)
