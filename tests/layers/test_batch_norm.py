"""Batch normalisation's statistics of large images, of nothing, and what it refuses."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import layers.functional as L
from tests.cases import channels_last, contiguous, since


@pytest.mark.parametrize("layout", [contiguous, channels_last])
def test_batch_norm_s_running_statistics_of_a_large_image(layout):
    """Four million numbers, one after the other in float32, would leave four digits."""
    x = layout(torch.rand(1, 2, 2048, 2048) ** 4 + 3)
    running = torch.zeros(2), torch.zeros(2)
    L.batch_norm(x, *running, training=True, momentum=1)
    v, m = torch.var_mean(x.double(), (0, 2, 3))
    assert_close(running[0].double(), m, rtol=1e-6, atol=0)
    assert_close(running[1].double(), v, rtol=1e-6, atol=0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "shape", [(3, 4, 0), (0,), (0, 3), (0, 3, 2, 2), (2, 3, 0, 4), (3, 0, 2, 2), (0, 0)], ids=str
)
def test_batch_norm_of_nothing_is_nothing(shape, training):
    results = []
    channels = shape[1:2]
    for norm in (L.batch_norm, F.batch_norm):
        x, statistics = torch.zeros(shape, requires_grad=True), (None, None)
        if not training or (channels and channels[0]):
            statistics = torch.full(channels, 0.5), torch.full(channels, 2.0)
        y = norm(x, *statistics, training=training)
        results.append((y, *torch.autograd.grad(y.sum(), x), *statistics))
    for ours, theirs in zip(*results, strict=True):
        assert (ours is None and theirs is None) or torch.equal(ours, theirs)


ONES, ZEROS = torch.ones(3), torch.zeros(3)
COMPLEX = torch.ones(3, dtype=torch.complex64)


EPS = since("2.11", "any eps is taken")


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("one is missing", dict(running_mean=ZEROS, training=True)),
        ("one is missing", dict(running_var=ONES, training=True)),
        ("are needed", dict(running_mean=ZEROS)),
        ("are needed", dict(running_var=ONES)),
        pytest.param("positive in training", dict(training=True, eps=0.0), marks=EPS),
        pytest.param("positive in training", dict(training=True, eps=-1.0), marks=EPS),
        pytest.param(
            "at least 0", dict(running_mean=ZEROS, running_var=ONES, eps=-1e-5), marks=EPS
        ),
        ("floating-point", dict(training=True, weight=COMPLEX)),
    ],
)
def test_batch_norm_refuses_what_torch_refuses(words, options):
    x, options = torch.randn(4, 3, 2, 2), dict(running_mean=None, running_var=None) | options
    with pytest.raises((ValueError, RuntimeError)) as theirs:
        F.batch_norm(x, **options)
    with pytest.raises(theirs.type, match=words):  # or a kind of it, as NotImplementedError is
        L.batch_norm(x, **options)


def test_batch_norm_in_evaluation_may_have_no_eps():
    x, mean, var = torch.randn(4, 3, 2, 2), torch.randn(3), torch.rand(3) + 0.5
    expected = (x - mean.view(3, 1, 1)) / var.sqrt().view(3, 1, 1)  # torch 2.11 refuses it
    assert_close(L.batch_norm(x, mean, var, eps=0.0), expected)
