"""What computes a call: the choice is made forward, carried to backward, and can be read."""

import threading

import pytest
import torch
from torch.testing import assert_close

import layers
import layers.functional as L
from layers.ops.registry import TABLE, record
from tests.layers.test_contract import each_layer

try:
    from layers.kernels.jit import jit_unavailable
except ModuleNotFoundError:
    compiled = False
else:
    compiled = jit_unavailable() is None
needs_kernels = pytest.mark.skipif(not compiled, reason="there are no compiled kernels")


def network():
    return layers.Sequential(
        layers.Conv2d(3, 4, 3, padding=1), layers.BatchNorm2d(4), layers.ReLU(),
        layers.LocalResponseNorm(3), layers.MaxPool2d(2), layers.LPPool2d(2, 2),
        layers.LocallyConnected2d(4, 2, 2, 2), layers.Flatten(),
    )  # fmt: skip


def kernels_of(calls):
    return {call.operator: call.kernel for call in calls}


@needs_kernels
def test_kernels_compute_outside_and_definitions_inside():
    model, x = network(), torch.randn(2, 3, 8, 8)
    with record() as calls:
        model(x).sum().backward()
    assert all(kernels_of(calls).values())
    with layers.reference(), record() as calls:
        model(x).sum().backward()
    assert calls
    assert not any(kernels_of(calls).values())


@pytest.mark.parametrize("where", ["outside", "in another thread"])
def test_backward_follows_forward(where):
    model, x = network(), torch.randn(2, 3, 8, 8, requires_grad=True)
    with layers.reference():
        y = model(x).sum()

    def backward():
        y.backward()

    with record() as calls:
        if where == "outside":
            backward()
        else:
            thread = threading.Thread(target=backward)
            thread.start()
            thread.join()
    assert {call.operator for call in calls} >= {"conv2d_weight", "max_pool2d_backward"}
    assert not any(kernels_of(calls).values())


@needs_kernels
def test_backward_inside_the_block_of_what_was_computed_outside_takes_kernels():
    model, x = network(), torch.randn(2, 3, 8, 8)
    y = model(x).sum()
    with layers.reference(), record() as calls:
        y.backward()
    assert all(kernels_of(calls).values())


def test_the_block_is_left_after_an_error():
    with pytest.raises(KeyError), layers.reference():
        raise KeyError
    assert layers.backends.kernels.enabled


@each_layer
def test_a_layer_computes_the_same_by_definitions(case):
    layer, x = case.build(), torch.randn(case.image, requires_grad=True)
    results = []
    for enabled in (True, False):
        with layers.backends.kernels.flags(enabled):
            y = layer(x)
            gradients = torch.autograd.grad(y, [x, *layer.parameters()], torch.ones_like(y))
        results.append((y, *gradients))
    for a, b in zip(*results, strict=True):
        assert_close(a, b)
        assert a.stride() == b.stride()


def test_a_compiled_function_notices():
    x, weight = torch.randn(1, 8, 8, 8), torch.randn(8, 8, 3, 3)
    compiled = torch.compile(L.conv2d, fullgraph=True, backend="aot_eager")
    with record() as calls:
        compiled(x, weight)
        with layers.reference():
            compiled(x, weight)
    by_kernels, by_definition = (call.kernel for call in calls if call.operator == "conv2d")
    assert (by_kernels is not None) == bool(TABLE)
    assert by_definition is None


@needs_kernels
def test_explain_says_what_computes_and_why_not(capsys):
    x, weight = torch.randn(1, 64, 56, 56), torch.randn(64, 64, 3, 3)
    layers.explain("conv2d", x, weight, padding=1)
    text = capsys.readouterr().out
    for operator in ("conv2d", "conv2d_input", "conv2d_weight"):
        assert f"{operator} (" in text
    assert "float32: winograd, in layers/kernels/conv_winograd.py" in text
    layers.explain("conv2d", x[:, :3], weight[:, :3], stride=2)
    text = capsys.readouterr().out
    assert "float32: im2col, in layers/kernels/conv_im2col.py" in text
    assert "not winograd: it is for 3x3 filters with stride and dilation 1" in text
    layers.explain("softmax", x, dim=1)
    assert "torch's operations alone" in capsys.readouterr().out


def test_explain_by_definition(capsys):
    with layers.reference():
        layers.explain("max_pool2d", torch.randn(1, 2, 6, 6), 2)
    text = capsys.readouterr().out
    assert "max_pool2d (1, 2, 6, 6) float32: its definition in layers/ops/pool.py" in text
    with pytest.raises(ValueError, match="no function 'conv3d'"):
        layers.explain("conv3d")
