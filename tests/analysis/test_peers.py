"""The rivals compute what they are said to compute."""

import pytest
import torch

import layers
from analysis import memory, peers
from analysis.accuracy import doubled, error
from tests import cases

EXPLICIT = [case for case in cases.CONV if not isinstance(case.padding, str) and case.image[0]]


@cases.table(EXPLICIT)
def test_the_textbook_convolution(case):
    channels = case.image[1]
    conv = torch.nn.Conv2d(channels, case.filters, case.kernel, **case.options).double()
    (x,) = cases.doubles(case.image)
    assert error(peers.TextbookConv2d(conv)(x), conv(x)) < 1e-14


def test_the_textbook_keeps_its_columns():
    conv = torch.nn.Conv2d(4, 4, 3, padding=1)
    x = torch.randn(2, 4, 8, 8, requires_grad=True)
    kept, _ = memory.kept(peers.TextbookConv2d(conv), [x])
    assert kept == 9 * memory.bytes_of([x])


@pytest.mark.parametrize("stride", [1, 2])
def test_the_snippet_is_our_layer(stride):
    layer = layers.LocallyConnected2d(3, 4, (6, 7), 3, stride).double()
    (x,) = cases.doubles((2, 3, 6, 7))
    assert error(peers.UnfoldMultiplySum(layer)(x), layer(x)) < 1e-14


def test_the_exact_twin_is_our_layer_with_every_option():
    layer = layers.LocallyConnected2d(4, 6, (9, 8), (3, 2), (2, 1), (2, 1), (1, 3), 2).double()
    (x,) = cases.doubles((2, 4, 9, 8))
    (y,) = doubled([x])
    reference = peers.LocalReference(layer)
    assert error(reference(y), layer(x)) < 1e-14
    ours = torch.autograd.grad(layer(x).square().sum(), [x, *layer.parameters()])
    theirs = torch.autograd.grad(reference(y).square().sum(), [y, *reference.parameters()])
    assert all(error(a, b) < 1e-13 for a, b in zip(ours, theirs, strict=True))


def test_jax_where_it_is_installed():
    pytest.importorskip("jax")
    layer = layers.LocallyConnected2d(3, 4, (6, 7), 3, 2)
    x = torch.randn(2, 3, 6, 7, requires_grad=True)
    rival = peers.JaxLocal(layer, x)
    y, (dx, _, _) = rival.both(rival.dy, *rival.inputs)
    expected = layer(x)
    assert error(torch.tensor(y.tolist()), expected) < 1e-5
    (ours,) = torch.autograd.grad(expected.sum(), [x])
    assert error(torch.tensor(dx.tolist()), ours) < 1e-5
    assert all(seconds > 0 for seconds in rival.run())


def test_without_jax_there_is_no_such_rival(monkeypatch):
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    layer = layers.LocallyConnected2d(3, 4, (6, 7), 3)
    assert peers.PEERS["jax"](layer, torch.randn(2, 3, 6, 7)) is None
