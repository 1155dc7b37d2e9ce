"""Whole numbers, bools and complex numbers: taken where torch takes them, refused elsewhere."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import layers.functional as L
from tests.cases import assert_same_step, channels_last, contiguous

WHOLE = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
COMPLEX = [torch.complex64, torch.complex128]
INDICES = torch.arange(16).view(4, 4).mul(4).expand(2, 4, 4, 4)
OPERATORS = {
    "adaptive_avg_pool2d": lambda M, x: M.adaptive_avg_pool2d(x, 2),
    "avg_pool2d": lambda M, x: M.avg_pool2d(x, 2),
    "avg_pool2d-padded": lambda M, x: M.avg_pool2d(x, 3, 2, 1),
    "batch_norm": lambda M, x: M.batch_norm(x, None, None, training=True),
    "batch_norm-eval": lambda M, x: M.batch_norm(x, torch.zeros(4), torch.ones(4)),
    "dropout": lambda M, x: M.dropout(x),
    "local_response_norm": lambda M, x: M.local_response_norm(x, 3, 1.0),
    "local_response_norm-even": lambda M, x: M.local_response_norm(x, 4, 0.3, 0.5, 2.0),
    "log_softmax": lambda M, x: M.log_softmax(x, 1),
    "lp_pool2d": lambda M, x: M.lp_pool2d(x, 2.0, 2),
    "max_pool2d": lambda M, x: M.max_pool2d(x, 2),
    "max_pool2d-padded": lambda M, x: M.max_pool2d(x, 3, 2, 1, return_indices=True),
    "max_unpool2d": lambda M, x: M.max_unpool2d(x, INDICES, 2),
    "relu": lambda M, x: M.relu(x),
    "softmax": lambda M, x: M.softmax(x, 1),
    "tanh": lambda M, x: M.tanh(x),
}
each_layout = pytest.mark.parametrize("layout", [contiguous, channels_last])


@each_layout
@pytest.mark.parametrize("dtype", [*WHOLE, torch.bool, *COMPLEX], ids=str)
@pytest.mark.parametrize("name", OPERATORS)
def test_a_dtype_is_taken_or_refused_as_by_torch(name, dtype, layout):
    x = layout(torch.randint(-9, 9, (2, 4, 4, 4)).to(dtype))
    try:
        expected = OPERATORS[name](F, x)
    except RuntimeError:  # among them NotImplementedError
        function = name.partition("-")[0]
        words = f"{function} .*complex" if dtype.is_complex else "(?i)numbers|bool"
        with pytest.raises(NotImplementedError, match=words):
            OPERATORS[name](L, x)
    else:
        assert_close(OPERATORS[name](L, x), expected)


@each_layout
@pytest.mark.parametrize("dtype", WHOLE, ids=str)
def test_the_largest_and_smallest_whole_numbers_are_pooled_as_by_torch(dtype, layout):
    limits = torch.iinfo(dtype)
    x = torch.randint(limits.min, limits.max, (2, 3, 7, 7), dtype=dtype)
    x[0, :, :3, :3] = limits.min  # a window that holds nothing else
    x = layout(x)
    options = dict(kernel_size=3, stride=2, padding=1, return_indices=True)
    assert_close(L.max_pool2d(x, **options), F.max_pool2d(x, **options))
    if dtype == torch.int64:  # rounded towards zero, and not by way of floats
        assert_close(L.avg_pool2d(x // 9, 3, 2, 1), F.avg_pool2d(x // 9, 3, 2, 1))


@pytest.mark.parametrize("options", [dict(p=1.0), dict(p=0.0), dict(training=False)], ids=str)
def test_dropout_of_complex_numbers_that_draws_nothing(options):
    x = torch.randn(3, 4, dtype=torch.complex128, requires_grad=True)
    upstream = torch.randn(3, 4, dtype=torch.complex128)
    ours, theirs = (dropout(x, **options) for dropout in (L.dropout, F.dropout))
    assert_same_step(ours, theirs, x, upstream)
