"""`to_torch`: the exact types of torch.nn, on the same parameters."""

import pytest
import torch
import torch.nn.functional as F
import torch.nn.utils.prune
from torch.testing import assert_close

import layers
import layers.functional as L
from layers import to_torch
from tests.layers.test_contract import each_layer

X = torch.randn(2, 4, 6, 6)


@each_layer
def test_to_torch_is_the_exact_twin_on_the_same_parameters(case):
    layer = case.build()
    twin = to_torch(layer)
    if case.name == "LocallyConnected2d":
        assert type(twin) is layers.LocallyConnected2d
    else:
        assert type(twin) is getattr(torch.nn, case.name)
    assert type(layer) is getattr(layers, case.name)  # which is as it was
    assert twin.training == layer.training
    for a, b in zip(twin.parameters(), layer.parameters(), strict=True):
        assert a is b
    x = torch.randn(case.image)
    assert_close(twin(x), layer(x))


def test_to_torch_keeps_buffers_hooks_functions_and_what_is_not_ours():
    class Mine(layers.ReLU):
        pass

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bn, self.squash = layers.BatchNorm2d(4), layers.ScaledTanh()
            self.mine, self.function, self.own = Mine(), L.conv2d, L.scaled_tanh

    block, seen = Block(), []
    block.bn.register_forward_hook(lambda *_: seen.append(1))
    twin = to_torch(block)
    twin.bn(X)
    assert seen
    assert twin.bn.running_mean is block.bn.running_mean
    assert block.bn.num_batches_tracked == 1
    assert type(twin.squash) is layers.ScaledTanh
    assert type(twin.mine) is Mine
    assert twin.function is F.conv2d
    assert twin.own is L.scaled_tanh


def weight_norm(layer):
    torch.nn.utils.parametrizations.weight_norm(layer)


def spectral_norm(layer):
    torch.nn.utils.parametrizations.spectral_norm(layer.eval())


def pruned(layer):
    torch.nn.utils.prune.l1_unstructured(layer, "weight", 0.5)
    layer(X)


@pytest.mark.parametrize("change", [weight_norm, spectral_norm, pruned])
def test_parametrised_and_pruned_layers(change):
    """Work on ours as on torch.nn's, and in to_torch."""
    results = []
    for nn in (layers, torch.nn):
        torch.manual_seed(0)
        layer = nn.Conv2d(4, 3, 3)
        change(layer)
        y = layer(X)
        results.append((y, *torch.autograd.grad(y.sum(), layer.parameters())))
        twin = to_torch(layer)
        assert isinstance(twin, torch.nn.Conv2d)
        assert not isinstance(twin, layers.Conv2d)
        assert_close(twin(X), y)
    assert_close(*results)
