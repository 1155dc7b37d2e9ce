"""What is done number by number: against Python's own operators, and torch."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from tests.cases import LAYOUTS
from tests.ops import definitions as ops

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_relu_backward_equals_the_definition(layout, dtype):
    dy, x = layout(torch.randn(2, 3, 4, 4)).to(dtype), torch.randint(-2, 3, (2, 3, 4, 4)).to(dtype)
    y = layout(x.relu())
    dx = ops.relu_backward(dy, y)
    assert dx.dtype == dtype
    for found, slope, value in zip(*(t.flatten().tolist() for t in (dx, dy, y)), strict=True):
        assert found == (slope if value > 0 else 0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_relu_backward_is_torch_s_where_numbers_are_not_finite(layout):
    values = torch.tensor([0.0, -0.0, 1.0, -1.0, torch.inf, -torch.inf, torch.nan, 1e-45])
    x = values.repeat(8, 1).view(1, 2, 4, 8).repeat(2, 1, 1, 1)
    x = layout(x).requires_grad_()
    dy = layout(values.repeat_interleave(8).view(1, 2, 4, 8).repeat(2, 1, 1, 1))
    y = F.relu(x)
    expected = torch.autograd.grad(y, x, dy)[0]
    dx = ops.relu_backward(dy, y.detach())
    assert_close(dx, expected, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(dx.isnan(), dy.isnan() & ((x > 0) | x.isnan()))


def test_relu_backward_of_nothing_and_of_a_scalar():
    assert ops.relu_backward(torch.ones(0, 3), torch.ones(0, 3)).shape == (0, 3)
    assert ops.relu_backward(torch.tensor(2.0), torch.tensor(math.nan)).item() == 2


@pytest.mark.parametrize("dtype", [*DTYPES, torch.int64], ids=str)
@pytest.mark.parametrize("shape", [(6,), (2, 3), (0,), ()], ids=str)
def test_one_hot_equals_torch(shape, dtype):
    indices = torch.randint(0, 5, shape)
    q = ops.one_hot(indices, 5, dtype, -100)
    assert q.dtype == dtype
    assert torch.equal(q, F.one_hot(indices, 5).to(dtype))


def test_an_ignored_index_has_no_one():
    for ignored in (-100, 7, 2):
        q = ops.one_hot(torch.tensor([0, ignored, 1]), 3, torch.float32, ignored)
        assert q.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("wrong", [-1, 3, -100])
def test_an_index_that_is_no_class_is_refused(wrong):
    with pytest.raises(IndexError, match="class indices from 0 to 2"):
        ops.one_hot(torch.tensor([0, wrong, 1]), 3, torch.float32, 99)
