"""Complex numbers: gradients are conjugated as torch's are; for refusals see test_dtypes.py."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

import layers.functional as L
from tests.cases import assert_same_step


def numbers(*shapes, dtype=torch.complex128):
    return tuple(torch.randn(shape, dtype=dtype).requires_grad_() for shape in shapes)


def local(x, weight, bias):
    return L.locally_connected2d(x, weight, bias, 2, padding=1)


def convolution(*inputs):
    return L.conv2d(*inputs, padding=1, groups=2)


CASES = {
    "linear": (L.linear, (2, 3), (2, 3), (2,)),
    "linear_input": (L.linear_input, (2, 3), (2, 2)),
    "linear_weight": (L.linear_weight, (2, 3), (2, 2)),
    "conv2d": (convolution, (1, 2, 3, 3), (2, 1, 2, 2), (2,)),
    "conv2d-wide": (lambda x, w: L.conv2d(x, w, stride=2), (1, 13, 3, 3), (1, 13, 2, 2)),
    "conv2d-1x1": (L.conv2d, (2, 2, 2, 2), (3, 2, 1, 1)),
    "conv2d-1x1-maps": (L.conv2d, (1, 1, 12, 12), (1, 1, 1, 1)),
    "conv2d_input": (lambda w, g: L.conv2d_input((1, 2, 3, 3), w, g), (2, 2, 2, 2), (1, 2, 2, 2)),
    "conv2d_weight": (lambda x, g: L.conv2d_weight(x, (2, 2, 2, 2), g), (1, 2, 3, 3), (1, 2, 2, 2)),
    "local": (local, (1, 2, 2, 2), (3, 3, 1, 8, 2), (2, 3, 3)),
    "tanh": (L.tanh, (2, 3)),
    "scaled_tanh": (L.scaled_tanh, (2, 3)),
}


@pytest.mark.parametrize("name", CASES)
def test_derivatives_of_all_orders(name):
    function, *shapes = CASES[name]
    inputs = numbers(*shapes)
    assert gradcheck(function, inputs, check_forward_ad=True)
    assert gradgradcheck(function, inputs)


@pytest.mark.parametrize(
    ("name", "shapes", "options"),
    [
        ("linear", [(3, 4), (5, 4), (5,)], {}),
        ("linear", [(2, 3, 4), (5, 4), (5,)], {}),
        ("conv2d", [(2, 4, 6, 6), (6, 2, 3, 3), (6,)], dict(padding=1, groups=2)),
        ("conv2d", [(2, 4, 6, 6), (6, 4, 3, 3), (6,)], dict(stride=2)),
        ("conv2d", [(2, 4, 6, 6), (6, 4, 1, 1), (6,)], {}),
        ("conv2d", [(2, 4, 12, 12), (6, 4, 1, 1), (6,)], {}),
        ("tanh", [(3, 4)], {}),
    ],
)
def test_values_and_gradients_are_torch_s(name, shapes, options):
    inputs = numbers(*shapes)
    ours, theirs = (getattr(nn, name)(*inputs, **options) for nn in (L, F))
    assert_same_step(ours, theirs, inputs, torch.randn_like(theirs))


def test_the_gradients_by_name_are_those_of_autograd():
    x, weight = numbers((2, 4, 6, 6), (6, 2, 3, 3))
    y = L.conv2d(x, weight, padding=1, groups=2)
    g = torch.randn_like(y)
    dx, dw = torch.autograd.grad(y, (x, weight), g)
    assert_close(L.conv2d_input(x.shape, weight, g, padding=1, groups=2), dx)
    assert_close(L.conv2d_weight(x, weight.shape, g, padding=1, groups=2), dw)
    x, weight, g = numbers((3, 4), (5, 4), (3, 5))
    dx, dw = torch.autograd.grad(L.linear(x, weight), (x, weight), g)
    assert_close((L.linear_input(weight, g), L.linear_weight(x, g)), (dx, dw))
