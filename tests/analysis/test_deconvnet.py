"""The way back to the pixels: against captum, against its steps by hand, and what goes wrong."""

import warnings

import pytest
import torch
import torch.nn.functional as torch_functional
from torch.testing import assert_close

import layers
import layers.functional as F
import models
from analysis.deconvnet import METHODS, project
from analysis.volumes import volume

OVERLAPPING = (
    "INPUT -> CONV5-6 -> RELU -> POOL3s2p1 -> CONV3-8 -> RELU -> MAXPOOL3s2p1 -> CONV3-8 -> RELU"
    " -> AVGPOOL2 -> CONV3-8 -> RELU -> FC"
)


class Residual(torch.nn.Module):
    """y = relu(x + F(x)), with a ReLU for each call, as captum asks."""

    def __init__(self, nn):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.residual = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
        self.relu, self.head = nn.ReLU(), nn.Linear(4, 2)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.relu(x + self.residual(x)).mean((2, 3)))


def network(name):
    if name == "residual":
        return Residual(layers).double().eval()
    return models.build(name, num_classes=3, in_channels=1, image_size=28).double().eval()


def images(count=2):
    return torch.randn(count, 1, 28, 28, dtype=torch.float64)


def unit(y):
    """Map, row and column of the largest number in the volume of the first image."""
    return tuple((y[0] == y[0].max()).nonzero()[0].tolist())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("name", "layer"),
    [("lenet", "features.1"), ("lenet", "features.4"), (OVERLAPPING, "features.7"),
     (OVERLAPPING, "features.10"), ("residual", "relu")],
)  # fmt: skip
def test_captum_s_neuron_methods_times_the_activation(name, layer, method):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages older than this torch
        attr = pytest.importorskip("captum.attr")
        theirs = {
            "deconvnet": attr.NeuronDeconvolution,
            "guided": attr.NeuronGuidedBackprop,
            "gradient": attr.NeuronGradient,
        }[method]
        ours, x = network(name), images()
        twin = layers.to_torch(ours)
        y = volume(ours, layer, x).detach()
        place = unit(y)
        activation = y[(slice(None), *place)]
        assert activation[0] > 0
        slope = theirs(twin, twin.get_submodule(layer)).attribute(x.clone().requires_grad_(), place)
    projected = project(ours, x, layer, torch.tensor([place] * len(x)), method)
    assert projected.abs().max() > 0
    assert_close(projected, slope * activation.view(-1, 1, 1, 1), rtol=1e-9, atol=1e-15)


def test_its_steps_by_hand():
    """Unpool, rectify, filter, from the second volume of LeNet down to the pixels."""
    net, x = network("lenet"), images(1)
    conv1, conv2 = net.features[0], net.features[3]
    maps = F.relu(conv1(x))
    pooled, switches = F.max_pool2d_with_switches(maps, 2)
    y = F.relu(conv2(pooled))
    signal = torch.zeros_like(y)
    signal[(0, *unit(y))] = y.max()
    signal = F.conv2d_input(pooled.shape, conv2.weight, F.relu(signal))
    signal = F.relu(F.max_unpool2d(signal, switches, 2))
    signal = F.conv2d_input(x.shape, conv1.weight, signal)
    assert_close(project(net, x, "features.4", torch.tensor([unit(y)])), signal)


def test_torch_s_max_unpool2d_loses_where_windows_overlap():
    """It assigns: of two windows with one winner it keeps one value, where the transpose of
    pooling, and so the deconvnet here, has their sum."""
    x = torch.zeros(1, 1, 5, 5, dtype=torch.float64)
    x[0, 0, 2, 2] = 1  # the corner that four windows of 3 x 3 at stride 2 share
    pooled, indices = torch_functional.max_pool2d(x, 3, 2, return_indices=True)
    _, switches = F.max_pool2d_with_switches(x, 3, 2)
    signal = torch.full_like(pooled, 0.25)
    theirs = torch_functional.max_unpool2d(signal, indices, 3, 2, output_size=x.shape)
    ours = F.max_unpool2d(signal, switches, 3, 2, output_size=x.shape[2:])
    assert theirs[0, 0, 2, 2] == 0.25
    assert ours[0, 0, 2, 2] == 1
    assert (ours * x).sum() == (signal * pooled).sum() == 1  # the transpose of pooling
    assert (theirs * x).sum() == 0.25  # three quarters are lost


def test_response_normalisation_is_skipped():
    net, x = network("INPUT -> CONV3-4 -> RELU -> LRN5 -> GAP -> FC"), images(1)
    y = volume(net, "features.2", x)
    signal = torch.zeros_like(y)
    signal[(0, *unit(y))] = y.max()
    expected = F.conv2d_input(x.shape, net.features[0].weight, signal, padding=1)
    assert_close(project(net, x, "features.2", torch.tensor([unit(y)])), expected)
    gradient = project(net, x, "features.2", torch.tensor([unit(y)]), "gradient")
    assert not torch.allclose(gradient, expected)


@pytest.mark.parametrize(
    ("name", "layer"), [("resnet20", "layer1.1"), ("googlenet_bn", "inception3a")]
)
def test_the_gradient_through_branches_is_autograd_s(name, layer):
    size = {"googlenet_bn": 47}.get(name, 16)
    net = models.build(name, num_classes=3, in_channels=1, image_size=size).double().eval()
    x = torch.randn(1, 1, size, size, dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        y = volume(net, layer, x)
    (expected,) = torch.autograd.grad(y[0].max(), x)
    units = torch.tensor([unit(y)])
    projected = project(net, x, layer, units, "gradient")
    assert_close(projected, expected * y[0].max().detach())
    assert not torch.allclose(project(net, x, layer, units), projected)


def test_a_unit_that_does_not_respond_has_no_projection():
    net, x = network("lenet"), images(1)
    y = volume(net, "features.1", x)
    silent = (y[0] == 0).nonzero()[:1]
    assert project(net, x, "features.1", silent).abs().max() == 0


@pytest.mark.parametrize(
    ("name", "layer", "words"),
    [("lenet5", "c3.0", "no ReLU of ours up to c3.0"), ("lenet", "classifier.1", "has no maps")],
)
def test_what_it_cannot_project_it_says(name, layer, words):
    net = models.build(name)
    x = torch.randn(1, 1, 32, 32)
    with pytest.raises(ValueError, match=words):
        project(net, x, layer, torch.tensor([[0, 0, 0]]))


def test_a_network_of_torch_nn_s_layers_is_refused():
    net, x = models.build("lenet", nn=torch.nn), torch.randn(1, 1, 32, 32)
    with pytest.raises(ValueError, match="no ReLU of ours"):
        project(net, x, "features.4", torch.tensor([[0, 0, 0]]))
