"""The residual networks: shortcuts, strides, initialisation, pre-activation."""

import pytest
import torch
import torchvision
from torch.testing import assert_close

import layers
import models
from models.resnet import BasicBlock, Bottleneck, BottleneckV1, ZeroPadding


def count(name, **options):
    with torch.device("meta"):
        network = models.build(name, **options)
    return sum(p.numel() for p in network.parameters())


def blocks(network, classes=(BasicBlock, Bottleneck, models.preact_resnet.PreActUnit)):
    return [module for module in network.modules() if isinstance(module, classes)]


# --- resnet.py: shortcuts, stride, initialisation


@pytest.mark.parametrize(
    ("name", "shortcut", "projections", "paddings"),
    [
        ("resnet34", "A", 0, 3),
        ("resnet34", "B", 3, 0),
        ("resnet34", "C", 16, 0),
        ("resnet50", "B", 4, 0),  # the first stage also changes the channels
        ("resnet50", "C", 16, 0),
        ("resnet56", "A", 0, 2),
        ("resnet56", "B", 2, 0),
    ],
)
def test_shortcuts(name, shortcut, projections, paddings):
    with torch.device("meta"):
        network = models.build(name, shortcut=shortcut)
    found = [type(block.downsample) for block in blocks(network)]
    assert found.count(layers.Sequential) == projections
    assert found.count(ZeroPadding) == paddings
    assert found.count(layers.Identity) == len(found) - projections - paddings


@pytest.mark.parametrize("depth", [20, 110])
def test_shortcut_b_adds_2752_parameters_to_the_cifar_networks(depth):
    name = f"resnet{depth}"
    assert count(name, shortcut="B") - count(name) == 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64 == 2_752


@pytest.mark.parametrize("name", ["resnet18", "resnet20"])
def test_an_unknown_shortcut_is_refused(name):
    with pytest.raises(ValueError, match='no shortcut "D": use "A", "B" or "C"'):
        models.build(name, shortcut="D")


@pytest.mark.parametrize(("channels", "before", "after"), [(4, 1, 1), (7, 2, 3), (2, 0, 0)])
def test_shortcut_a_takes_every_second_pixel_and_pads_with_zeros(channels, before, after):
    x = torch.randn(3, 2, 5, 6)
    y = ZeroPadding(2, channels, stride=2)(x)
    assert y.shape == (3, channels, 3, 3)
    for row in range(3):
        for column in range(3):
            assert torch.equal(y[:, before : before + 2, row, column], x[:, :, 2 * row, 2 * column])
    assert not y[:, :before].any()
    assert not y[:, channels - after :].any()


@pytest.mark.parametrize(("block", "reads_all"), [(Bottleneck, True), (BottleneckV1, False)])
def test_v1_reads_only_every_fourth_pixel(block, reads_all):
    """With shortcut A, which reads the same pixels."""
    torch.manual_seed(0)
    network = block(8, 4, 2, "A", layers).eval()
    x = torch.randn(1, 8, 6, 6)
    skipped = x.clone()
    skipped[:, :, ::2, 1::2] += 1
    skipped[:, :, 1::2] += 1
    assert network(x).equal(network(skipped)) is not reads_all


@pytest.mark.parametrize("depth", [50, 101])
def test_v1_differs_from_v1_5_in_its_strides_only(depth):
    with torch.device("meta"):
        ours, v1 = models.build(f"resnet{depth}"), models.build(f"resnet{depth}_v1")
    shapes = [{k: v.shape for k, v in network.state_dict().items()} for network in (ours, v1)]
    assert shapes[0] == shapes[1]
    for network, strides in ((ours, (1, 2)), (v1, (2, 1))):
        for first in (network.layer2[0], network.layer3[0], network.layer4[0]):
            assert (first.conv1.stride[0], first.conv2.stride[0]) == strides


@pytest.mark.parametrize(
    ("name", "zero_init_residual"), [("resnet18", False), ("resnet18", True), ("resnet50", True)]
)
def test_the_same_seed_gives_the_same_weights_as_torchvision(name, zero_init_residual):
    networks = []
    for build in (models.MODELS[name], torchvision.models.get_model_builder(name)):
        torch.manual_seed(3)
        networks.append(build(num_classes=5, zero_init_residual=zero_init_residual))
    for (key, a), b in zip(
        networks[0].state_dict().items(), networks[1].state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), key


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", dict(shortcut="A")),
        ("resnet18", {}),
        ("resnet50", {}),
        ("resnet50_v1", {}),
        ("resnet20", {}),
        ("resnet20", dict(shortcut="C")),
    ],
)
def test_zero_init_residual_makes_every_block_its_shortcut(name, options):
    network = models.build(name, zero_init_residual=True, **options)
    for block in blocks(network):
        channels = block.conv1.in_channels
        x = torch.randn(2, channels, 4, 4).relu()
        y = block(x)
        assert torch.equal(y, block.downsample(x).relu())
        if isinstance(block.downsample, layers.Identity):
            assert torch.equal(y, x)


@pytest.mark.parametrize("name", ["resnet20", "preact_resnet110", "preact_resnet164"])
def test_he_initialisation(name):
    network = models.build(name)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d) and module.weight.numel() > 2000:
            kernel, filters = module.kernel_size[0], module.out_channels
            assert module.weight.std().item() == pytest.approx(
                (2 / (kernel**2 * filters)) ** 0.5, rel=0.1
            )
            assert module.bias is None


# --- preact_resnet.py


def without_residuals(network):
    """Every F is 0, and BN has random parameters, so that it is not the identity."""
    for unit in blocks(network):
        torch.nn.init.zeros_(unit.residual[-1].weight)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.normal_(module.bias)
    return network


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        ("preact_resnet110", [18, 36]),
        ("preact_resnet164", [0, 18, 36]),
        ("preact_resnet18", [2, 4, 6]),
        ("preact_resnet50", [0, 3, 7, 13]),
    ],
)
def test_units_that_share_the_preactivation(name, shared):
    """With F = 0 a unit is its shortcut, which starts before or after BN and ReLU."""
    network = without_residuals(models.build(name))
    for i, unit in enumerate(blocks(network)):
        x = torch.randn(2, unit.residual[0].in_channels, 4, 4)
        if i in shared:
            assert_close(unit(x), unit.downsample(unit.preactivation(x)))
        else:
            assert torch.equal(unit(x), x)  # not even a ReLU after the addition


@pytest.mark.parametrize("name", ["preact_resnet110", "preact_resnet164", "preact_resnet18"])
def test_the_first_unit_starts_from_the_stem_s_bn_and_relu(name):
    network = models.build(name).eval()
    torch.nn.init.normal_(network.bn1.bias)
    seen = {}
    unit = network.layer1[0]
    for branch in ("residual", "downsample"):
        module = getattr(unit, branch)
        module.register_forward_pre_hook(lambda _, x, branch=branch: seen.update({branch: x[0]}))
    x = torch.randn(2, 3, 32, 32)
    network(x)
    stem = network.bn1(network.conv1(x)).relu()
    if name == "preact_resnet18":
        stem = network.maxpool(stem)
    assert torch.equal(seen["residual"], stem)
    assert torch.equal(seen["downsample"], stem)


@pytest.mark.parametrize("name", ["preact_resnet50", "preact_resnet164"])
def test_projections_are_convolutions_without_batch_norm(name):
    with torch.device("meta"):
        network = models.build(name)
    changing = [unit.downsample for unit in blocks(network) if unit.shared]
    assert len(changing) == (4 if name == "preact_resnet50" else 3)
    assert all(isinstance(projection, layers.Conv2d) for projection in changing)
    assert all(projection.bias is None for projection in changing)


@pytest.mark.parametrize(
    ("name", "strides"), [("preact_resnet50", (1, 2)), ("preact_resnet164", (2, 1))]
)
def test_the_strides_of_preactivation_bottlenecks(name, strides):
    """In the 3 x 3 for ImageNet, as Facebook's; in the first 1 x 1 for CIFAR, as the authors'."""
    with torch.device("meta"):
        network = models.build(name)
    for first in (network.layer2[0], network.layer3[0]):
        assert (first.residual[0].stride[0], first.residual[3].stride[0]) == strides


def test_bn_and_relu_follow_the_last_unit():
    network = without_residuals(models.build("preact_resnet110", num_classes=4))
    seen = {}
    network.avgpool.register_forward_pre_hook(lambda _, inputs: seen.update(x=inputs[0]))
    network.layer3.register_forward_hook(lambda _, __, output: seen.update(sum=output))
    network(torch.randn(2, 3, 32, 32))
    assert (seen["x"] >= 0).all()
    assert_close(seen["x"], network.bn2(seen["sum"]).relu())


def test_preactivation_networks_refuse_shortcut_c():
    with pytest.raises(ValueError, match='no shortcut "C": use "A" or "B"'):
        models.build("preact_resnet110", shortcut="C")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("preact_resnet164", 1_726_388),
        ("allcnn_c", 1_387_108),
    ],
)
def test_parameters_for_cifar_100(name, parameters):
    assert count(name, num_classes=100) == parameters
