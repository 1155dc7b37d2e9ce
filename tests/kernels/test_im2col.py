"""What im2col does beside equalling its definition (test_table.py): chunks, precision, speed."""

import time

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import layers.functional as L
from layers.kernels.im2col import Im2col, col2im, col2im_by_taps
from layers.kernels.im2col_nchw import Im2colNCHW
from layers.ops.geometry import Geometry


@pytest.mark.parametrize("size", [1, 2000, 2 << 20], ids=lambda size: f"{size}-bytes")
@pytest.mark.parametrize("channels_last", [True, False], ids=["channels-last", "contiguous"])
@pytest.mark.parametrize("add", [col2im, col2im_by_taps])
def test_im2col_and_col2im_are_adjoint(add, channels_last, size, monkeypatch):
    """<columns, im2col(x)> = <col2im(columns), x>, a row, some rows or all images at a time."""
    monkeypatch.setattr("layers.kernels.workspace.CPU_WORKSPACE", size)
    geometry = Geometry((3, 2), (1, 1), (1, 1), (1, 2), groups=2)
    layout = Im2col((7, 6), 4, geometry, channels_last)
    x = torch.randn(3, 4, 7, 6, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    back, product = torch.zeros_like(x), 0
    for chunk, memory in layout.chunks(x):
        layout.im2col(layout.padded(x[chunk.images]), chunk, memory)
        columns, other = memory.clone(), torch.randn_like(memory)
        windows = layout.windows(other, chunk)
        add(windows, back[chunk.images], geometry, chunk.rows.start)
        product += (columns * other).sum()
    assert_close(product, (back * x).sum())


def test_filters_are_rows_and_back():
    weight = torch.randn(6, 2, 3, 2)
    for kind in (Im2col, Im2colNCHW):
        layout = kind((7, 6), 4, Geometry((3, 2), groups=2))
        assert torch.equal(layout.filters(layout.w_row(weight)), weight)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_adds_up_in_float32(dtype, monkeypatch):
    """Many small pieces: the error of the sum is one rounding, not many."""
    monkeypatch.setattr("layers.kernels.workspace.CPU_WORKSPACE", 1)
    x, weight = torch.rand(64, 4, 6, 6), torch.rand(8, 4, 5, 5)
    g = torch.rand(64, 8, 2, 2)
    exact = L.conv2d_weight(x, weight.shape, g), L.conv2d_input(x.shape, weight, g)
    x, weight, g = x.to(dtype), weight.to(dtype), g.to(dtype)
    rounded = L.conv2d_weight(x, weight.shape, g), L.conv2d_input(x.shape, weight, g)
    for a, b in zip(exact, rounded, strict=True):
        assert_close(b.float(), a, rtol=1e-2, atol=1e-2)


def test_bfloat16_takes_fast_products():
    """torch.bmm has scalar loops for outputs that lie column by column: 1000 times as long."""
    x = torch.randn(4, 32, 24, 24).bfloat16().requires_grad_()
    weight = torch.randn(32, 32, 3, 3).bfloat16()

    def seconds(conv2d):
        def step():
            start = time.perf_counter()
            y = conv2d(x, weight, padding=1)
            torch.autograd.grad(y, x, y)
            return time.perf_counter() - start

        return min(step() for _ in range(3))

    assert seconds(L.conv2d) < 30 * seconds(F.conv2d)
