"""What torch.func.linearize asks of an operator: nothing written in place."""

import warnings

import torch
from torch.func import jvp, linearize
from torch.testing import assert_close


def assert_linear_every_time(f, x):
    """The derivative of f, kept and called again, is f's.

    linearize keeps all that does not depend on the tangent, and replays the rest: what was written
    in place, it would write again.
    """
    tangent = torch.randn_like(x)
    _, expected = jvp(f, (x,), (tangent,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        _, derivative = linearize(f, x)
    for factor in (1, 1, 2):
        assert_close(derivative(factor * tangent), factor * expected)
