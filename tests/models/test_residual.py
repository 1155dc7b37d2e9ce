"""What is special to the residual, the all convolutional and the locally connected networks."""

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


def blocks(network, kinds=(BasicBlock, Bottleneck, models.preact_resnet.PreActUnit)):
    return [module for module in network.modules() if isinstance(module, kinds)]


# --- resnet.py: shortcuts, stride, initialisation


@pytest.mark.parametrize(
    ("name", "shortcut", "projections", "paddings"),
    [
        ("resnet34", "A", 0, 3),
        ("resnet34", "B", 3, 0),
        ("resnet34", "C", 16, 0),
        ("resnet50", "B", 4, 0),  # the first stage, too, changes its channels
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
def test_option_b_costs_the_cifar_nets_2752_parameters(depth):
    name = f"resnet{depth}"
    assert count(name, shortcut="B") - count(name) == 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64 == 2_752


@pytest.mark.parametrize("name", ["resnet18", "resnet20"])
def test_an_unknown_shortcut(name):
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


@pytest.mark.parametrize(("block", "seen"), [(Bottleneck, True), (BottleneckV1, False)])
def test_v1_skips_three_pixels_of_four(block, seen):
    """With shortcut A, which skips them as well."""
    torch.manual_seed(0)
    network = block(8, 4, 2, "A", layers).eval()
    x = torch.randn(1, 8, 6, 6)
    skipped = x.clone()
    skipped[:, :, ::2, 1::2] += 1
    skipped[:, :, 1::2] += 1
    assert network(x).equal(network(skipped)) is not seen


@pytest.mark.parametrize("depth", [50, 101])
def test_v1_has_the_parameters_of_v1_5_and_another_stride(depth):
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
def test_the_same_seed_gives_torchvision_s_weights(name, zero_init_residual):
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
def test_zero_init_residual_starts_every_block_as_its_shortcut(name, options):
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


def without_branches(network):
    """Every F is 0, and BN makes something of what it is given."""
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
    """Without its branch a unit is its shortcut; does that start before or after BN and ReLU?"""
    network = without_branches(models.build(name))
    for i, unit in enumerate(blocks(network)):
        x = torch.randn(2, unit.residual[0].in_channels, 4, 4)
        if i in shared:
            assert_close(unit(x), unit.downsample(unit.preactivation(x)))
        else:
            assert torch.equal(unit(x), x)  # not even a ReLU after the addition


@pytest.mark.parametrize("name", ["preact_resnet110", "preact_resnet164", "preact_resnet18"])
def test_both_ways_of_the_first_unit_start_from_the_stem_s_bn_and_relu(name):
    network = models.build(name).eval()
    torch.nn.init.normal_(network.bn1.bias)
    seen = {}
    unit = network.layer1[0]
    for way in ("residual", "downsample"):
        module = getattr(unit, way)
        module.register_forward_pre_hook(lambda _, inputs, way=way: seen.update({way: inputs[0]}))
    x = torch.randn(2, 3, 32, 32)
    network(x)
    stem = network.bn1(network.conv1(x)).relu()
    if name == "preact_resnet18":
        stem = network.maxpool(stem)
    assert torch.equal(seen["residual"], stem)
    assert torch.equal(seen["downsample"], stem)


@pytest.mark.parametrize("name", ["preact_resnet50", "preact_resnet164"])
def test_projections_are_bare_convolutions(name):
    with torch.device("meta"):
        network = models.build(name)
    changing = [unit.downsample for unit in blocks(network) if unit.shared]
    assert len(changing) == (4 if name == "preact_resnet50" else 3)
    assert all(isinstance(projection, layers.Conv2d) for projection in changing)
    assert all(projection.bias is None for projection in changing)


@pytest.mark.parametrize(
    ("name", "strides"), [("preact_resnet50", (1, 2)), ("preact_resnet164", (2, 1))]
)
def test_where_preactivation_bottlenecks_stride(name, strides):
    """In the 3 x 3 as Facebook's for ImageNet, in the first 1 x 1 as the authors' for CIFAR."""
    with torch.device("meta"):
        network = models.build(name)
    for first in (network.layer2[0], network.layer3[0]):
        assert (first.residual[0].stride[0], first.residual[3].stride[0]) == strides


def test_the_last_unit_is_normalised_and_rectified():
    network = without_branches(models.build("preact_resnet110", num_classes=4))
    seen = {}
    network.avgpool.register_forward_pre_hook(lambda _, inputs: seen.update(x=inputs[0]))
    network.layer3.register_forward_hook(lambda _, __, output: seen.update(sum=output))
    network(torch.randn(2, 3, 32, 32))
    assert (seen["x"] >= 0).all()
    assert_close(seen["x"], network.bn2(seen["sum"]).relu())


def test_a_preactivation_net_knows_no_shortcut_c():
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


# --- allcnn.py


@pytest.mark.parametrize(
    ("size", "sizes"), [(32, (16, 8, 6)), (28, (14, 7, 5)), (29, (15, 8, 6)), (64, (32, 16, 14))]
)
@pytest.mark.parametrize("name", ["model_c", "strided_cnn_c", "convpool_cnn_c", "allcnn_c"])
def test_all_forms_halve_alike(name, size, sizes):
    with torch.device("meta"):
        network = models.build(name, image_size=size)
        x = torch.empty(1, 3, size, size)
        for part, expected in zip(
            (network.block1, network.block2, network.classifier), sizes, strict=True
        ):
            x = part(x)
            assert x.shape[2:] == (expected, expected)


@pytest.mark.parametrize("name", ["model_c", "strided_cnn_c", "convpool_cnn_c", "allcnn_c"])
def test_dropout_of_the_image_and_where_it_is_halved(name):
    network = models.build(name)
    assert network.dropout.p == 0.2
    for block in (network.block1, network.block2):
        places = [i for i, part in enumerate(block) if isinstance(part, layers.Dropout)]
        assert [block[i].p for i in places] == [0.5]
        assert places == [len(block) - 1]
    assert not any(isinstance(part, layers.Dropout) for part in network.classifier)


def test_layer_by_layer():
    """The parameters of each convolution of All-CNN-C."""
    network = models.build("allcnn_c")
    convolutions = [m for m in network.modules() if isinstance(m, layers.Conv2d)]
    assert [sum(p.numel() for p in m.parameters()) for m in convolutions] == [
        2_688, 83_040, 83_040, 166_080, 331_968, 331_968, 331_968, 37_056, 1_930
    ]  # fmt: skip
    assert [m.stride[0] for m in convolutions] == [1, 1, 2, 1, 1, 2, 1, 1, 1]
    assert [m.padding[0] for m in convolutions] == [1, 1, 1, 1, 1, 1, 0, 0, 0]


@pytest.mark.parametrize("name", ["model_c", "strided_cnn_c", "convpool_cnn_c", "allcnn_c"])
def test_all_classes_start_alive(name):
    """The classes have a ReLU: where one is 0 for every image, nothing is learnt any more."""
    network = models.build(name, image_size=16).eval()
    logits = network(torch.randn(16, 3, 16, 16))
    assert (logits > 0).all()
    with torch.no_grad():
        network.classifier[-2].bias.fill_(-100)
    assert not network(torch.randn(2, 3, 16, 16)).any()


# --- deepface.py


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


def test_deepface_figures_of_the_paper():
    """Over 95 % of the parameters are in L and F, as it says; over 120 million they are not."""
    with torch.device("meta"):
        network = models.build("deepface")
    convolutions = sum(p.numel() for part in (network.c1, network.c3) for p in part.parameters())
    total = sum(p.numel() for p in network.parameters())
    assert 1 - convolutions / total > 0.999
    assert 0.99 * 120e6 < total < 120e6


def test_deepface_sees_73_pixels():
    """The paper says 74.  With all weights positive, every pixel that counts has a gradient."""
    network = models.build("deepface", image_size=80, num_classes=2)
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 0.01)
    network.m2 = layers.AvgPool2d(3, stride=2, ceil_mode=True)  # a maximum shows one pixel of nine
    x = torch.ones(1, 3, 80, 80, requires_grad=True)
    maps = network.l6(network.l5(network.l4(network.c3(network.m2(network.c1(x))))))
    (grad,) = torch.autograd.grad(maps[0, 0, 0, 0], x)
    rows = grad[0, 0].any(1)
    assert rows.sum() == 73
    assert rows[:73].all()


def test_deepface_weights_differ_from_place_to_place():
    """A shifted image gives shifted maps in C3, other ones in L4."""
    network = models.build("deepface", image_size=81, num_classes=2)
    x = torch.randn(1, 3, 85, 81)
    above, below = (network.c3(network.m2(network.c1(x[:, :, at : at + 81]))) for at in (0, 4))
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


def test_deepface_knows_two_initialisations():
    with pytest.raises(ValueError, match='init must be "kaiming" or "paper", got \'xavier\''):
        models.build("deepface", image_size=72, init="xavier")
