"""The chapter's worked examples, number by number."""

import torch
from torch.testing import assert_close

import layers
import layers.functional as L
from layers.ops.conv import im2col
from layers.ops.geometry import Geometry


def test_numpy_example():
    """X (11, 11, 4), filters 5 x 5, stride 2: V[i, j, d] = sum(X[2i:2i+5, 2j:2j+5] * W_d) + b_d."""
    x, w0, w1 = torch.randn(11, 11, 4), torch.randn(5, 5, 4), torch.randn(5, 5, 4)
    bias = torch.tensor([0.5, -1.0])
    v = L.conv2d(
        x.permute(2, 0, 1), torch.stack((w0, w1)).permute(0, 3, 1, 2), bias, stride=2
    ).permute(1, 2, 0)
    assert v.shape == (4, 4, 2)
    assert_close(v[0, 0, 0], (x[:5, :5] * w0).sum() + bias[0])
    assert_close(v[1, 0, 0], (x[2:7, :5] * w0).sum() + bias[0])
    assert_close(v[0, 1, 1], (x[:5, 2:7] * w1).sum() + bias[1])
    assert_close(v[2, 3, 1], (x[4:9, 6:11] * w1).sum() + bias[1])


def test_edge_detector_in_one_dimension():
    """The chapter's picture: [1, 0, -1] over x = [0, 1, 2, -1, 1, -3, 0] at stride 1 and 2."""
    x = torch.tensor([1.0, 2, -1, 1, -3]).view(1, 1, 1, 5)
    weight = torch.tensor([1.0, 0, -1]).view(1, 1, 1, 3)
    y = L.conv2d(x, weight, padding=(0, 1))
    assert y.flatten().tolist() == [-2, 2, 1, 2, 1]
    assert L.conv2d(x, weight, stride=2, padding=(0, 1)).flatten().tolist() == [-2, 1, 1]


def test_dilation_counts_gaps_from_zero_in_the_chapter():
    """w[0]*x[0] + w[1]*x[2] + w[2]*x[4] is the chapter's dilation 1, torch's 2."""
    x = torch.arange(1.0, 6).view(1, 1, 1, 5)
    weight = torch.tensor([1.0, 10, 100]).view(1, 1, 1, 3)
    assert L.conv2d(x, weight, dilation=2).item() == 1 + 30 + 500


def test_alexnet_s_columns():
    """227 x 227 x 3, 96 filters 11 x 11 at stride 4: X_col is 363 x 3025."""
    image = torch.randn(1, 3, 227, 227)
    x_col = im2col(image, Geometry((11, 11), (4, 4)))
    assert x_col.shape == (1, 363, 3025)
    assert x_col.numel() == 1_098_075
    weight = torch.randn(96, 3, 11, 11)
    product = (weight.view(96, 363) @ x_col[0]).view(96, 55, 55)
    assert_close(
        product, torch.nn.functional.conv2d(image, weight, stride=4)[0], rtol=1e-4, atol=1e-4
    )


def test_parameter_sharing():
    """290,400 neurons: 105,705,600 parameters unshared, 34,944 shared."""
    with torch.device("meta"):
        shared = layers.Conv2d(3, 96, 11, stride=4)
        untied = layers.LocallyConnected2d(3, 96, 227, 11, stride=4)
        neurons = shared(torch.empty(1, 3, 227, 227)).numel()
    assert neurons == 290_400
    assert sum(p.numel() for p in untied.parameters()) == 105_705_600
    assert sum(p.numel() for p in shared.parameters()) == 34_944
