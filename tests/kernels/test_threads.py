"""Operators on several threads: the same numbers, however many compute them."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import layers
import layers.functional as L
from analysis.baselines import LocalReference
from tests.cases import LAYOUTS, ConvCase, assert_same_step, doubles, table

CASES = [
    ConvCase("wide", (6, 24, 7, 8), 5, padding=(1, 1)),
    ConvCase("thin", (6, 2, 7, 8), 5, padding=(1, 1)),
    ConvCase("groups", (6, 4, 7, 8), 6, groups=2),
    ConvCase("uneven-parts", (5, 24, 7, 8), 5),
    ConvCase("an-image", (1, 3, 7, 8), 5),
    ConvCase("no-image", (0, 3, 7, 8), 5),
]


@pytest.mark.parametrize("algorithm", ["im2col", "winograd"])
@table(CASES)
def test_convolution(case, algorithm, threads, library):
    x, weight = doubles(case.image, case.weight)
    ours = L.conv2d(x, weight, algorithm=algorithm, **case.options)
    theirs = F.conv2d(x, weight, **case.options)
    assert_same_step(ours, theirs, (x, weight), torch.randn_like(theirs))


def test_filters_by_thread(threads, library, monkeypatch):
    for name in ("MIN_DIVIDED_WEIGHTS", "WEIGHTS_AT_A_TIME"):
        monkeypatch.setattr(f"layers.kernels.conv_winograd_plan.{name}", 1)
    x, weight = doubles((2, 4, 7, 9), (80, 2, 3, 3))
    options = {"padding": 1, "groups": 2}
    ours = L.conv2d(x, weight, algorithm="winograd", **options)
    theirs = F.conv2d(x, weight, **options)
    assert_same_step(ours, theirs, (x, weight), torch.randn_like(theirs))


@pytest.mark.parametrize("size", [(24, 40, 5, 2), (24, 5, 1, 1)], ids=["strided", "pointwise"])
def test_other_layouts(size, threads, library):
    channels, filters, kernel, stride = size
    x, weight = doubles((6, channels, 13, 12), (filters, channels, kernel, kernel))
    ours, theirs = (f(x, weight, stride=stride) for f in (L.conv2d, F.conv2d))
    assert_same_step(ours, theirs, (x, weight), torch.randn_like(theirs))


def test_local_connection(threads, library, monkeypatch):
    monkeypatch.setattr("layers.kernels.workspace.CPU_WORKSPACE", 1)
    layer = layers.LocallyConnected2d(4, 6, (5, 7), 3, groups=2, padding=1).double()
    (x,) = doubles((3, 4, 5, 7))
    inputs = (x, layer.weight, layer.bias)
    theirs = LocalReference(layer)(x)
    assert_same_step(layer(x), theirs, inputs, torch.randn_like(theirs))


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("max_pool2d", (3, 2)),
        ("lp_pool2d", (2, 3, 2)),
        ("batch_norm", (None, None, None, None, True)),
        ("local_response_norm", (5,)),
    ],
)
def test_loops(name, options, layout, threads, library):
    (x,) = doubles((5, 30, 9, 9))
    ours, theirs = (getattr(f, name)(layout(x), *options) for f in (L, F))
    assert_same_step(ours, theirs, (x,), torch.randn_like(theirs))


def test_inference_mode(threads, library):
    layer, x = layers.Conv2d(24, 5, 3), torch.randn(6, 24, 7, 7)
    with torch.inference_mode():
        y = layer(x)
    assert y.is_inference()
    assert_close(y, layer(x))
