"""LeNet-5 against its paper, and both networks against themselves on the built-in layers."""

import copy
import pickle

import pytest
import torch
from torch.testing import assert_close

import layers
import models
from models.glyphs import output_codes
from models.lenet import C3_TABLE, MAPLoss
from models.sizing import feature_shape

PARAMETERS = {"lenet": 61_706, "lenet5": 60_000}
each_network = pytest.mark.parametrize("name", PARAMETERS)


def pair(name, **options):
    """The same network, from the same seed, from both layer sets."""
    networks = []
    for nn in (layers, torch.nn):
        torch.manual_seed(0)
        networks.append(models.build(name, nn=nn, **options))
    return networks


@each_network
def test_parameter_count(name):
    network = models.build(name)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]


@each_network
def test_both_layer_sets_have_the_same_state_logits_and_gradients(name):
    ours, theirs = (network.double() for network in pair(name))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    x, targets = torch.randn(4, 1, 32, 32, dtype=torch.float64), torch.tensor([0, 3, 9, 9])
    losses = []
    for network, nn in ((ours, layers), (theirs, torch.nn)):
        loss = models.criterion(network, nn)(network(x), targets)
        loss.backward()
        losses.append(loss)
    assert_close(ours(x), theirs(x), rtol=1e-9, atol=1e-9)
    assert_close(*losses, rtol=1e-9, atol=1e-9)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-9)


@each_network
def test_shapes_without_numbers(name):
    with torch.device("meta"):
        assert models.build(name)(torch.empty(2, 1, 32, 32)).shape == (2, 10)


@each_network
def test_deepcopy_and_pickle(name):
    for network in pair(name):
        x = torch.randn(2, 1, 32, 32)
        for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
            assert torch.equal(copied(x), network(x))


@each_network
@pytest.mark.parametrize(
    ("size", "channels", "classes"), [(28, 1, 10), (40, 3, 7), ((32, 48), 1, 100)]
)
def test_any_image_and_any_number_of_classes(name, size, channels, classes):
    network = models.build(name, image_size=size, in_channels=channels, num_classes=classes)
    height, width = (size, size) if isinstance(size, int) else size
    assert network(torch.randn(2, channels, height, width)).shape == (2, classes)


@each_network
def test_a_small_image_is_refused_with_the_smallest_that_fits(name):
    with pytest.raises(ValueError, match="smallest that fits is 16 x 16"):
        models.build(name, image_size=15)
    models.build(name, image_size=16)


def test_a_network_that_fits_no_image_shows_its_own_error():
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


def test_table_one():
    assert [len(maps) for maps in C3_TABLE] == [3] * 6 + [4] * 9 + [6]
    assert [sum(i in maps for maps in C3_TABLE) for i in range(6)] == [10] * 6


def test_c3_reads_only_its_maps():
    c3 = models.build("lenet5").c3[0]
    x = torch.randn(1, 6, 14, 14, requires_grad=True)
    for output, maps in enumerate(C3_TABLE):
        (grad,) = torch.autograd.grad(c3(x)[0, output].sum(), x)
        assert {i for i in range(6) if grad[0, i].any()} == set(maps)


def test_squash():
    squash = models.lenet.Squash(layers)
    a = torch.tensor([1.0, -1.0, 100.0])
    assert_close(squash(a), torch.tensor([1.0, -1.0, 1.7159]), atol=1e-4, rtol=0)


def test_sub_sampling_sums_four_and_scales():
    s2 = models.build("lenet5").s2[0]
    x = torch.randn(1, 6, 28, 28)
    expected = s2.weight[2] * x[0, 2, 4:6, 6:8].sum() + s2.bias[2]
    assert_close(s2(x)[0, 2, 2, 3], expected)


def test_initialisation_is_uniform_in_2_4_over_fan_in():
    network = models.build("lenet5")
    for module, fan_in in ((network.c1[0], 25), (network.c5[0], 400), (network.f6[0], 120)):
        assert 0.9 * 2.4 / fan_in < module.weight.abs().max() <= 2.4 / fan_in
    c3 = network.c3[0]
    for maps in (3, 4, 6):
        weights = c3.weight[c3.fan_in[c3.outputs] == maps]
        assert 0.9 * 2.4 / (25 * maps) < weights.abs().max() <= 2.4 / (25 * maps)


def test_output_codes_are_pictures():
    codes = output_codes(12)
    assert codes.shape == (12, 84)
    assert set(codes.flatten().tolist()) == {-1.0, 1.0}
    distances = torch.cdist(codes, codes, p=0) + 84 * torch.eye(12)
    assert distances.min() >= 8
    assert torch.equal(output_codes(12)[:10], output_codes(10))
    seven = codes[7].view(12, 7)
    assert seven[0].tolist() == [1.0] * 7  # the bar of the 7


def test_output_is_minus_the_squared_distance():
    network = models.build("lenet5")
    states = torch.randn(1, 84)
    distance = (states - network.output.codes[3]).square().sum()
    assert_close(network.output(states)[0, 3], -distance)


def test_map_loss_is_the_paper_s():
    """E = y_target + log(exp(-j) + sum of exp(-y))."""
    y, targets, j = torch.rand(5, 10) * 20, torch.tensor([0, 1, 2, 3, 9]), 10.0
    total = torch.exp(torch.tensor(-j)) + torch.exp(-y).sum(1)
    expected = (y[torch.arange(5), targets] + total.log()).mean()
    assert_close(MAPLoss(rubbish=j)(-y, targets), expected)
