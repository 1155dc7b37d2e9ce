"""Fully connected layers as convolutions and back, batch norm folded: the same numbers."""

import pytest
import torch

import layers
import models
from analysis.surgery import SurgeryError, fold_batch_norm, to_convolutional, to_linear

PATTERN = "INPUT[1x16x16] -> CONV3-4 -> BN -> RELU -> POOL2 -> FC20 -> RELU -> DROPOUT0.5 -> FC"
SMALL = {  # an image of the smallest convenient size
    "lenet": (1, 32, 32), "lenet5": (1, 32, 32), PATTERN: (1, 16, 16),
    "INPUT[1x16x16] -> CONV3-4 -> GAP -> FC": (1, 16, 16), "resnet20": (3, 32, 32),
    "allcnn_c": (3, 32, 32), "resnet18": (3, 64, 64), "preact_resnet110": (3, 32, 32),
    "googlenet": (3, 64, 64), "googlenet_bn": (3, 64, 64), "alexnet": (3, 99, 99),
}  # fmt: skip
LARGE = {
    "alexnet_owt": (3, 224, 224), "zfnet": (3, 99, 99),
    "zfnet_512": (3, 99, 99), "vgg11": (3, 224, 224), "vgg11_lrn": (3, 64, 64),
    "vgg16_c": (3, 64, 64), "vgg16": (3, 224, 224), "vgg19": (3, 224, 224),
    "vgg16_bn": (3, 224, 224), "resnet50": (3, 64, 64), "resnet50_v1": (3, 64, 64),
    "preact_resnet18": (3, 64, 64),
}  # fmt: skip
EVERY = [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]


def build(name, nn=layers, dtype=torch.float64):
    channels, *size = (SMALL | LARGE)[name]
    options = {"aux_logits": False} if name.startswith("googlenet") else {}
    network = models.build(
        name, num_classes=7, in_channels=channels, image_size=size, nn=nn, **options
    )
    for norm in network.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.running_mean.uniform_(-1, 1)
            norm.running_var.uniform_(0.5, 2)
    return network.to(dtype).eval()


@pytest.mark.parametrize("nn", [layers, torch.nn], ids=["layers", "torch.nn"])
@pytest.mark.parametrize("name", EVERY)
@torch.no_grad()
def test_a_convolutional_head_computes_the_same(name, nn):
    image = (SMALL | LARGE)[name]
    network = build(name, nn)
    convolutional = to_convolutional(network, image)
    x = torch.randn(2, *image, dtype=torch.float64)
    scores, logits = convolutional(x), network(x)
    assert scores.shape == (2, 7, 1, 1)
    assert (scores[..., 0, 0] - logits).abs().max() <= 1e-9 * logits.abs().max()
    heads = [m for m in convolutional.modules() if isinstance(m, torch.nn.Linear)]
    assert not heads
    kinds = {type(m) for m in network.modules() if isinstance(m, torch.nn.Conv2d)}
    assert {type(m) for m in convolutional.modules() if isinstance(m, torch.nn.Conv2d)} <= kinds


def test_parameters_are_shared():
    network = build("lenet")
    convolutional = to_convolutional(network, (1, 32, 32))
    with torch.no_grad():
        next(m for m in network.modules() if isinstance(m, torch.nn.Linear)).weight.fill_(7)
    assert (convolutional.get_submodule("classifier.0").weight == 7).all()
    assert convolutional.get_submodule("classifier.0").weight.shape == (120, 16, 5, 5)


def test_a_locally_connected_layer_cannot_slide():
    network = models.build("deepface", num_classes=7, image_size=80)
    with pytest.raises(SurgeryError, match=r"l4\.0 is locally connected"):
        to_convolutional(network, (3, 80, 80))


def test_averages_without_a_window_are_refused():
    network = models.build("alexnet_owt", num_classes=7, image_size=99)
    with pytest.raises(SurgeryError, match="avgpool makes 6 x 6 of 2 x 2"):
        to_convolutional(network, (3, 99, 99))


@pytest.mark.parametrize("nn", [layers, torch.nn], ids=["layers", "torch.nn"])
@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "bias": False}, {"groups": 3}],
    ids=["plain", "stride", "dilation", "groups"],
)
@torch.no_grad()
def test_a_convolution_as_a_matrix(options, nn):
    conv = nn.Conv2d(3, 6, 3, dtype=torch.float64, **options)
    linear = to_linear(conv, (9, 8))
    assert type(linear) is nn.Linear
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    assert (linear(x.flatten(1)) - conv(x).flatten(1)).abs().max() <= 1e-9
    assert linear.weight.count_nonzero() < linear.weight.numel() / 3


@torch.no_grad()
def test_the_matrix_of_a_convolution_is_equal_in_blocks():
    """Units of a map have the same weights, moved on by the stride."""
    conv = layers.Conv2d(1, 1, 3)
    first, second, *_ = to_linear(conv, 5).weight.view(9, 25)
    assert torch.equal(first[:-1], second[1:])
    assert torch.equal(first.view(5, 5)[:3, :3], conv.weight[0, 0])


def test_a_matrix_that_is_too_large_is_refused_with_its_size():
    with pytest.raises(SurgeryError, match=r"290,400 x 154,587.* 171,250 MiB, more than 64"):
        to_linear(layers.Conv2d(3, 96, 11, stride=4), 227)


@pytest.mark.parametrize("name", [PATTERN, "resnet20", "googlenet_bn"])
@torch.no_grad()
def test_batch_norm_folded_into_the_convolution(name):
    image = SMALL[name]
    network = build(name)
    folded = fold_batch_norm(network, image)
    x = torch.randn(2, *image, dtype=torch.float64)
    assert (folded(x) - network(x)).abs().max() <= 1e-9 * network(x).abs().max()
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())


@torch.no_grad()
def test_a_batch_norm_before_its_convolution_stays():
    network = build("preact_resnet110")
    folded = fold_batch_norm(network, (3, 32, 32))
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    assert (folded(x) - network(x)).abs().max() <= 1e-9 * network(x).abs().max()
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())


class Twice(torch.nn.Module):
    """One convolution, called twice, with a batch norm behind the second call."""

    def __init__(self):
        super().__init__()
        self.conv = layers.Conv2d(4, 4, 3, padding=1)
        self.norm = layers.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.conv(self.conv(x)))


@torch.no_grad()
def test_a_convolution_that_is_called_twice_is_not_folded():
    network = Twice().eval()
    network.norm.running_mean.uniform_(-1, 1)
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(fold_batch_norm(network, (4, 8, 8))(x), network(x))


class Head(torch.nn.Module):
    def __init__(self, flatten, inputs=4):
        super().__init__()
        self.conv, self.flatten = layers.Conv2d(1, 4, 3), flatten
        self.fc = layers.Linear(inputs, 5)

    def forward(self, x):
        return self.fc(self.flatten(self.conv(x)))


def test_a_flatten_layer_is_known():
    network = Head(torch.nn.Flatten(), 4 * 6 * 6)
    sliding = to_convolutional(network, (1, 8, 8))
    x = torch.randn(1, 1, 10, 10)
    with torch.no_grad():
        assert sliding(x).shape == (1, 5, 3, 3)
        assert torch.allclose(sliding(x)[..., 2, 1], network(x[..., 2:, 1:9]), atol=1e-6)


@pytest.mark.parametrize(
    "flatten",
    [
        lambda x: torch.nn.functional.adaptive_avg_pool2d(x, 1).flatten(1),
        lambda x: x.mean((2, 3)),
        lambda x: x.amax((2, 3)),
    ],
    ids=["adaptive", "mean", "amax"],
)
def test_what_takes_the_whole_volume_is_refused(flatten):
    with pytest.raises(SurgeryError, match="takes the whole volume"):
        to_convolutional(Head(flatten), (1, 8, 8))
