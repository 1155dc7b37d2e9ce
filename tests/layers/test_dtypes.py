"""Whole and complex numbers: each operator takes those that torch's takes, and refuses the rest."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import layers.functional as L
from tests.cases import assert_same_step

WHOLE = [torch.int32, torch.int64, torch.uint8, torch.bool]
OPERATORS = {
    "batch_norm": lambda M, x: M.batch_norm(x, None, None, training=True),
    "batch_norm-eval": lambda M, x: M.batch_norm(x, torch.zeros(4), torch.ones(4)),
    "dropout": lambda M, x: M.dropout(x),
    "local_response_norm": lambda M, x: M.local_response_norm(x, 3, 1.0),
    "local_response_norm-even": lambda M, x: M.local_response_norm(x, 4, 0.3, 0.5, 2.0),
    "log_softmax": lambda M, x: M.log_softmax(x, 1),
    "lp_pool2d": lambda M, x: M.lp_pool2d(x, 2.0, 2),
    "softmax": lambda M, x: M.softmax(x, 1),
}


@pytest.mark.parametrize("dtype", [*WHOLE, torch.complex64], ids=str)
@pytest.mark.parametrize("name", OPERATORS)
def test_whole_and_complex_numbers_are_taken_or_refused_as_by_torch(name, dtype):
    x = torch.randint(9, (2, 4, 4, 4)).to(dtype)
    try:
        expected = OPERATORS[name](F, x)
    except RuntimeError:  # among them NotImplementedError
        with pytest.raises(NotImplementedError, match=r"complex|floating-point|whole"):
            OPERATORS[name](L, x)
    else:
        assert_close(OPERATORS[name](L, x), expected)


@pytest.mark.parametrize("options", [dict(p=1.0), dict(p=0.0), dict(training=False)], ids=str)
def test_dropout_of_complex_numbers_that_draws_nothing(options):
    x = torch.randn(3, 4, dtype=torch.complex128, requires_grad=True)
    upstream = torch.randn(3, 4, dtype=torch.complex128)
    ours, theirs = (dropout(x, **options) for dropout in (L.dropout, F.dropout))
    assert_same_step(ours, theirs, x, upstream)
