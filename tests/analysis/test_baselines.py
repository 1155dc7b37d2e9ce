"""The baselines compute the same as our layers."""

import pytest
import torch

import layers
from analysis import baselines, memory
from analysis.accuracy import error, to_float64
from tests import cases

EXPLICIT = [case for case in cases.CONV if not isinstance(case.padding, str) and case.image[0]]


@cases.table(EXPLICIT)
def test_the_textbook_convolution(case):
    channels = case.image[1]
    conv = torch.nn.Conv2d(channels, case.filters, case.kernel, **case.options).double()
    (x,) = cases.doubles(case.image)
    assert error(baselines.TextbookConv2d(conv)(x), conv(x)) < 1e-14


def test_the_textbook_convolution_saves_its_columns():
    conv = torch.nn.Conv2d(4, 4, 3, padding=1)
    x = torch.randn(2, 4, 8, 8, requires_grad=True)
    saved, _ = memory.saved_bytes(baselines.TextbookConv2d(conv), [x])
    assert saved == 9 * memory.nbytes([x])


@pytest.mark.parametrize("stride", [1, 2])
def test_the_snippet_equals_our_layer(stride):
    layer = layers.LocallyConnected2d(3, 4, (6, 7), 3, stride).double()
    (x,) = cases.doubles((2, 3, 6, 7))
    assert error(baselines.UnfoldMultiplySum(layer)(x), layer(x)) < 1e-14


def test_the_reference_equals_our_layer_with_every_option():
    layer = layers.LocallyConnected2d(4, 6, (9, 8), (3, 2), (2, 1), (2, 1), (1, 3), 2).double()
    (x,) = cases.doubles((2, 4, 9, 8))
    (y,) = to_float64([x])
    reference = baselines.LocalReference(layer)
    assert error(reference(y), layer(x)) < 1e-14
    ours = torch.autograd.grad(layer(x).square().sum(), [x, *layer.parameters()])
    theirs = torch.autograd.grad(reference(y).square().sum(), [y, *reference.parameters()])
    assert all(error(a, b) < 1e-13 for a, b in zip(ours, theirs, strict=True))


def test_jax_equals_our_layer():
    pytest.importorskip("jax")
    layer = layers.LocallyConnected2d(3, 4, (6, 7), 3, 2)
    x = torch.randn(2, 3, 6, 7, requires_grad=True)
    baseline = baselines.JaxLocal(layer, x)
    y, (dx, _, _) = baseline.forward_and_backward(baseline.dy, *baseline.inputs)
    expected = layer(x)
    assert error(torch.tensor(y.tolist()), expected) < 1e-5
    (ours,) = torch.autograd.grad(expected.sum(), [x])
    assert error(torch.tensor(dx.tolist()), ours) < 1e-5
    assert all(seconds > 0 for seconds in baseline.run())


def test_without_jax_there_is_no_such_baseline(monkeypatch):
    monkeypatch.setattr(baselines.importlib.util, "find_spec", lambda name: None)
    layer = layers.LocallyConnected2d(3, 4, (6, 7), 3)
    assert baselines.BASELINES["jax"](layer, torch.randn(2, 3, 6, 7)) is None
