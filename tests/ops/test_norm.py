"""Batch and response normalisation: against loops, torch.nn and finite differences."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from tests import reference
from tests.cases import LAYOUTS, contiguous, doubles
from tests.ops import definitions as ops
from tests.ops.linearize import assert_linear_every_time

EXACT = dict(rtol=1e-12, atol=1e-12)
HALF = [torch.float16, torch.bfloat16]
EPS = 1e-5
SHAPES = [(4, 3, 5, 2), (2, 3, 1, 1), (6, 3), (5, 3, 7), (2, 3, 2, 2, 2), (1, 1, 4, 4)]
SIZES = [1, 2, 3, 4, 5, 11]  # the last beyond the channels
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
each_layout = pytest.mark.parametrize("layout", LAYOUTS[:3])
each_size = pytest.mark.parametrize("size", SIZES)
each_beta = pytest.mark.parametrize("beta", [0.75, 0.5, 1.0])


def batch(shape, layout=contiguous):
    """x, gamma, beta and dy."""
    x, gamma, beta, dy = doubles(shape, shape[1], shape[1], shape, requires_grad=False)
    return (layout(x), gamma, beta, layout(dy)) if x.dim() == 4 else (x, gamma, beta, dy)


@each_shape
def test_batch_norm_equals_the_definition(shape):
    x, gamma, beta, _ = batch(shape)
    x += 3
    y, *statistics = ops.batch_norm(x, gamma, beta, EPS)
    flat = x.reshape(*shape[:2], -1)
    expected, *expected_statistics = reference.batch_norm(flat, gamma, beta, EPS)
    assert_close(y.reshape(flat.shape), expected, **EXACT)
    assert_close(statistics, expected_statistics, **EXACT)


@each_layout
@each_shape
def test_batch_norm_is_torch_s_forward_and_backward(shape, layout):
    x, gamma, beta, dy = batch(shape, layout)
    inputs = [t.requires_grad_() for t in (x, gamma, beta)]
    expected = F.batch_norm(x, None, None, gamma, beta, training=True, eps=EPS)
    gradients = torch.autograd.grad(expected, inputs, dy)
    x, gamma, beta = (t.detach() for t in inputs)
    y, mean, variance = ops.batch_norm(x, gamma, beta, EPS)
    assert_close(y, expected, **EXACT)
    assert_close(ops.batch_norm_backward(dy, x, gamma, mean, variance, EPS), gradients, **EXACT)


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_batch_norm_of_half_precision_is_float32_rounded_once(dtype):
    x, gamma, beta, dy = (t.float() for t in batch((8, 3, 5, 5)))
    x, dy = (x + 10).to(dtype), dy.to(dtype)
    y, mean, variance = ops.batch_norm(x, gamma, beta, EPS)
    expected, *statistics = ops.batch_norm(x.float(), gamma, beta, EPS)
    assert y.dtype == dtype
    assert torch.equal(y, expected.to(dtype))
    assert_close([mean, variance], statistics, rtol=0, atol=0)
    found = ops.batch_norm_backward(dy, x, gamma, mean, variance, EPS)
    exact = ops.batch_norm_backward(dy.float(), x.float(), gamma, mean, variance, EPS)
    assert torch.equal(found[0], exact[0].to(dtype))
    assert_close(found[1:], exact[1:], rtol=0, atol=0)


def test_batch_norm_is_exact_where_the_mean_is_far_from_zero():
    x = torch.randn(8, 4, 16, 16) + torch.tensor([0.0, 3.0, 30.0, 300.0]).view(4, 1, 1)
    ones, zeros = torch.ones(4), torch.zeros(4)
    y, _, _ = ops.batch_norm(x, ones, zeros, EPS)
    exact = F.batch_norm(x.double(), None, None, training=True)
    assert_close(y.double(), exact, rtol=0, atol=1e-4)


def test_nan_stays_in_its_channel():
    x, gamma, beta, dy = batch((2, 3, 4, 4))
    x[0, 1, 2, 3] = torch.nan
    y, mean, variance = ops.batch_norm(x, gamma, beta, EPS)
    dx, dgamma, _ = ops.batch_norm_backward(dy, x, gamma, mean, variance, EPS)
    for volume in (y, dx):
        assert volume.isnan().all((0, 2, 3)).tolist() == [False, True, False]
        assert volume.isnan().any((0, 2, 3)).tolist() == [False, True, False]
    assert dgamma.isnan().tolist() == [False, True, False]


def batch_norm_gradients(dy, x, gamma):
    """With the statistics as functions of x."""
    _, mean, variance = ops.batch_norm(x, gamma, gamma, EPS)
    return ops.batch_norm_backward(dy, x, gamma, mean, variance, EPS)


def test_batch_norm_s_gradient_can_be_differentiated():
    dy, x, gamma = doubles((3, 2, 2, 2), (3, 2, 2, 2), 2)
    assert gradcheck(batch_norm_gradients, (dy, x, gamma), check_forward_ad=True)
    assert gradgradcheck(batch_norm_gradients, (dy, x, gamma), fast_mode=True)


def test_batch_norm_s_gradient_can_be_linearized():
    dy, x, gamma = doubles((3, 2, 2, 2), (3, 2, 2, 2), 2, requires_grad=False)
    assert_linear_every_time(lambda x: batch_norm_gradients(dy, x, gamma)[0], x)
    assert_linear_every_time(lambda dy: batch_norm_gradients(dy, x, gamma)[0], dy)


@each_beta
@each_size
def test_response_norm_equals_the_definition(size, beta):
    (x,) = doubles((2, 7, 3), requires_grad=False)
    y = ops.local_response_norm(x, size, 0.3, beta, 2.0)
    assert_close(y, reference.local_response_norm(x, size, 0.3, beta, 2.0), **EXACT)


@each_layout
@each_beta
@each_size
def test_response_norm_is_torch_s_forward_and_backward(size, beta, layout):
    x, dy = (layout(t) for t in doubles((3, 7, 4, 5), (3, 7, 4, 5), requires_grad=False))
    x.requires_grad_()
    y = F.local_response_norm(x, size, 0.3 * size, beta, 2.0)  # of the mean, not of the sum
    assert_close(ops.local_response_norm(x.detach(), size, 0.3, beta, 2.0), y, **EXACT)
    dx = ops.local_response_norm_backward(dy, x.detach(), size, 0.3, beta, 2.0)
    assert_close(dx, torch.autograd.grad(y, x, dy)[0], **EXACT)


@pytest.mark.parametrize("dtype", HALF, ids=str)
@each_size
def test_response_norm_of_half_precision_is_float32_rounded_once(size, dtype):
    x, dy = torch.randn(2, 2, 7, 4, 4).to(dtype)
    constants = size, 0.3, 0.75, 2.0
    y, exact = (ops.local_response_norm(t, *constants) for t in (x, x.float()))
    assert torch.equal(y, exact.to(dtype))
    dx = ops.local_response_norm_backward(dy, x, *constants)
    exact = ops.local_response_norm_backward(dy.float(), x.float(), *constants)
    assert torch.equal(dx, exact.to(dtype))


@pytest.mark.parametrize("shape", [(2, 0, 3, 3), (0, 4, 3, 3), (2, 4, 0, 3)], ids=str)
def test_response_norm_of_nothing(shape):
    x, constants = torch.randn(shape), (5, 0.3, 0.75, 2.0)
    assert ops.local_response_norm(x, *constants).shape == shape
    assert ops.local_response_norm_backward(x, x, *constants).shape == shape


@pytest.mark.parametrize("size", [2, 5])
def test_response_norm_s_gradient_can_be_differentiated(size):
    dy, x = doubles((2, 6, 2, 2), (2, 6, 2, 2))

    def backward(dy, x):
        return ops.local_response_norm_backward(dy, x, size, 0.5, 0.75, 2.0)

    assert gradcheck(backward, (dy, x), check_forward_ad=True)
    assert gradgradcheck(backward, (dy, x), fast_mode=True)
    dy, x = dy.detach(), x.detach()
    assert_linear_every_time(lambda x: backward(dy, x), x)
    assert_linear_every_time(lambda dy: backward(dy, x), dy)
