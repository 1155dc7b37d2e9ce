"""VGG: Table 1, both initialisations, and initialisation from net A."""

import pytest
import torch

import models
from models.vgg import CONFIGURATIONS, copy_from_a

SMALL = dict(image_size=32, num_classes=3, avgpool=None)


def convolutions(network):
    return [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]


@pytest.mark.parametrize(
    ("name", "depth"), [("vgg11", 11), ("vgg11_lrn", 11), ("vgg13", 13), ("vgg16_c", 16),
                        ("vgg16", 16), ("vgg19", 19), ("vgg19_bn", 19)],
)  # fmt: skip
def test_depth_counts_the_layers_with_weights(name, depth):
    with torch.device("meta"):
        network = models.build(name)
    linear = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    assert len(convolutions(network)) + len(linear) == depth


def test_only_net_c_has_1x1_convolutions_at_the_end_of_the_last_three_stages():
    with torch.device("meta"):
        for name in ("vgg11", "vgg13", "vgg16", "vgg19"):
            assert {c.kernel_size for c in convolutions(models.build(name))} == {(3, 3)}
        pointwise = [c.kernel_size == (1, 1) for c in convolutions(models.build("vgg16_c"))]
    assert [i for i, is_pointwise in enumerate(pointwise) if is_pointwise] == [6, 9, 12]


def test_table_1_has_five_stages_of_the_same_widths():
    for row in CONFIGURATIONS.values():
        stages = row.split("M")[:-1]
        widths = [{int(n.split("@")[0]) for n in stage.split() if n != "LRN"} for stage in stages]
        assert widths == [{64}, {128}, {256}, {512}, {512}]


def test_lrn_follows_the_first_relu():
    with torch.device("meta"):
        features = models.build("vgg11_lrn").features
    names = [type(layer).__name__ for layer in features]
    assert names[:4] == ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"]
    assert names.count("LocalResponseNorm") == 1


@pytest.mark.parametrize(
    ("options", "inputs"),
    [
        (dict(), 512 * 7 * 7),
        (dict(image_size=32), 512 * 7 * 7),
        (dict(image_size=32, avgpool=None), 512),
        (dict(image_size=96, avgpool=1), 512),
        (dict(image_size=96, avgpool=None), 512 * 3 * 3),
    ],
)
def test_inputs_of_the_classifier(options, inputs):
    with torch.device("meta"):
        assert models.build("vgg11", **options).classifier[0].in_features == inputs


def test_initialisation():
    kaiming = models.build("vgg11", **SMALL)
    for layer in convolutions(kaiming):
        expected = (2 / (layer.out_channels * 9)) ** 0.5
        assert layer.weight.std().item() == pytest.approx(expected, rel=0.05)
    assert kaiming.classifier[3].weight.std().item() == pytest.approx(0.01, rel=0.02)
    paper = models.build("vgg11", init="paper", **SMALL)
    for layer in (*convolutions(paper), paper.classifier[3]):
        assert layer.weight.var().item() == pytest.approx(1e-2, rel=0.1)
    for network in (kaiming, paper):
        assert not any(p.any() for name, p in network.named_parameters() if name.endswith("bias"))
    with pytest.raises(ValueError, match='init must be "kaiming" or "paper", got \'xavier\''):
        models.build("vgg11", init="xavier", **SMALL)


# indices of net A's conv1_1, conv2_1, conv3_1 and conv3_2 in the features of a deeper network
@pytest.mark.parametrize(
    ("name", "indices"),
    [
        ("vgg13", (0, 5, 10, 12)),
        ("vgg16", (0, 5, 10, 12)),
        ("vgg19", (0, 5, 10, 12)),
        ("vgg13_bn", (0, 7, 14, 17)),
    ],
)
def test_copy_from_a(name, indices):
    a, deeper = models.build("vgg11", **SMALL), models.build(name, **SMALL)
    for parameter in a.parameters():
        parameter.data.normal_()
    before = {key: value.clone() for key, value in deeper.state_dict().items()}
    copy_from_a(deeper, a)
    sources = {f"features.{i}": f"features.{j}" for i, j in zip(indices, (0, 3, 6, 8), strict=True)}
    sources |= {f"classifier.{i}": f"classifier.{i}" for i in (0, 3, 6)}
    for key, value in deeper.state_dict().items():
        layer, _, kind = key.rpartition(".")
        if layer in sources:
            assert torch.equal(value, a.state_dict()[f"{sources[layer]}.{kind}"])
            assert not torch.equal(value, before[key])
        else:
            assert torch.equal(value, before[key])


def test_copy_from_a_refuses_other_networks_and_shapes():
    with torch.device("meta"):
        a, d = models.build("vgg11", **SMALL), models.build("vgg16", **SMALL)
        other = models.build("vgg16", image_size=32, num_classes=4, avgpool=None)
    with pytest.raises(ValueError, match="build `a` with vgg11"):
        copy_from_a(d, d)
    with pytest.raises(ValueError, match="same num_classes"):
        copy_from_a(other, a)
