"""Pooling kernels on what random numbers do not have: NaN, ties, infinities, zeros.

Geometries whose windows lie partly in the padding or beyond the border, with gaps, and with too
many taps to unroll; and a backward pass gives the same bits at every run.
"""

import pytest
import torch
from torch.testing import assert_close

from layers.kernels.triton import lp_pool, max_pool, window_sum
from layers.ops.geometry import Geometry
from layers.ops.registry import OPERATORS
from tests.cases import channels_last, contiguous, strided
from tests.kernels.checks import spoil

pytestmark = pytest.mark.interpreted

SIZE = 7, 8
GEOMETRIES = {  # and whether the number of windows is rounded up
    "overlap": (Geometry((3, 3), (2, 2)), False),
    "padded-ceil": (Geometry((3, 3), (2, 2), (1, 1)), True),
    "dilated": (Geometry((3, 2), (1, 2), (1, 1), (2, 2)), False),
    "gaps-ceil": (Geometry((2, 2), (3, 3)), True),
    "not-unrolled": (Geometry((6, 5), (3, 2), (3, 2)), True),
}
geometries = pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
layouts = pytest.mark.parametrize("layout", [contiguous, channels_last, strided])
MAX_UNROLLED_BACK = Geometry((12, 12), (2, 2))  # 36 windows see a pixel


def compute(kernel, operator, *inputs):
    """By the kernel, into memory full of NaN."""
    outputs = OPERATORS[operator].empty(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    for output in outputs:
        spoil(output)
    kernel.compute(*inputs, *outputs)
    return outputs if len(outputs) > 1 else outputs[0]


def awkward_images():
    """Ties; NaN in many places; -inf everywhere; -inf, NaN and 1 in turn."""
    torch.manual_seed(0)
    ties = torch.randint(-1, 2, (3, *SIZE)).float()
    some_nan = torch.where(torch.rand(3, *SIZE) < 0.3, torch.nan, torch.randn(3, *SIZE))
    lowest = torch.full((3, *SIZE), -torch.inf)
    mixed = torch.tensor([-torch.inf, torch.nan, 1.0])[torch.randint(0, 3, (3, *SIZE))]
    return torch.stack([ties, some_nan, lowest, mixed])


@layouts
@geometries
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_max_pool2d(geometry, layout, dtype):
    geometry, ceil_mode = geometry
    size, last = geometry.output_size(SIZE, ceil_mode), layout is channels_last
    x = layout(awkward_images().to(dtype))
    y, switches = compute(max_pool.MAX_POOL2D, "max_pool2d", x, geometry, size, last)
    expected, winners = OPERATORS["max_pool2d"].definition(x, geometry, size)
    assert_close(y, expected, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(switches, winners)
    again = compute(
        max_pool.MAX_POOL2D_GATHER, "max_pool2d_gather", x, switches, geometry, size, last
    )
    assert_close(again, y, rtol=0, atol=0, equal_nan=True)


@layouts
@geometries
def test_max_pool2d_backward(geometry, layout):
    geometry, ceil_mode = geometry
    size, last = geometry.output_size(SIZE, ceil_mode), layout is channels_last
    _, switches = OPERATORS["max_pool2d"].definition(awkward_images(), geometry, size)
    dy = layout(torch.randn(4, 3, *size))
    inputs = dy, layout(switches), geometry, SIZE, last
    dx, again = (
        compute(max_pool.MAX_POOL2D_BACKWARD, "max_pool2d_backward", *inputs) for _ in range(2)
    )
    assert torch.equal(dx, again)
    assert_close(dx, OPERATORS["max_pool2d_backward"].definition(*inputs[:4]))


@layouts
@geometries
def test_window_sum(geometry, layout):
    geometry, ceil_mode = geometry
    size, last = geometry.output_size(SIZE, ceil_mode), layout is channels_last
    x = layout(awkward_images())
    y = compute(window_sum.WINDOW_SUM, "window_sum", x, geometry, size, last)
    expected = OPERATORS["window_sum"].definition(x, geometry, size)
    assert_close(y, expected, equal_nan=True)
    inputs = layout(expected), geometry, SIZE, last
    dx, again = (
        compute(window_sum.WINDOW_SUM_BACKWARD, "window_sum_backward", *inputs) for _ in range(2)
    )
    assert_close(dx, again, rtol=0, atol=0, equal_nan=True)
    expected = OPERATORS["window_sum_backward"].definition(*inputs[:3])
    assert_close(dx, expected, equal_nan=True)


@pytest.mark.parametrize("norm", [1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("layout", [contiguous, channels_last])
@pytest.mark.parametrize("name", ["padded-ceil", "dilated", "not-unrolled"])
def test_lp_pool2d(name, layout, norm):
    """Single zeros, windows of nothing else, and NaN, which reaches those that see it."""
    geometry, ceil_mode = GEOMETRIES[name]
    size, last = geometry.output_size(SIZE, ceil_mode), layout is channels_last
    torch.manual_seed(0)
    x = torch.randn(3, 2, *SIZE) * (torch.rand(3, 2, *SIZE) < 0.7)
    x[1] = 0
    x[2, 0, 3, 3] = torch.nan
    x = layout(x)
    y = compute(lp_pool.LP_POOL2D, "lp_pool2d", x, norm, geometry, size, last)
    assert_close(y, OPERATORS["lp_pool2d"].definition(x, norm, geometry, size), equal_nan=True)
    dy = layout(torch.randn(y.shape))
    inputs = dy[:2], x[:2], y[:2], norm, geometry
    dx, again = (
        compute(lp_pool.LP_POOL2D_BACKWARD, "lp_pool2d_backward", *inputs, last) for _ in range(2)
    )
    assert torch.equal(dx, again)
    assert not dx[1].any()
    assert_close(dx, OPERATORS["lp_pool2d_backward"].definition(*inputs), atol=1e-5, rtol=1e-5)


def test_more_taps_than_a_byte_can_tell():
    geometry = Geometry((1, 257), (1, 257))
    x = torch.arange(520).sin().reshape(1, 1, 1, 520)
    inputs = x, geometry, (1, 2), False
    y, switches = compute(max_pool.MAX_POOL2D, "max_pool2d", *inputs)
    expected, winners = OPERATORS["max_pool2d"].definition(*inputs[:3])
    assert switches.dtype == winners.dtype == torch.int32
    assert torch.equal(switches, winners)
    assert torch.equal(y, expected)
    inputs = y, switches, geometry, (1, 520)
    dx = compute(max_pool.MAX_POOL2D_BACKWARD, "max_pool2d_backward", *inputs, False)
    assert torch.equal(dx, OPERATORS["max_pool2d_backward"].definition(*inputs))


def test_more_windows_see_a_pixel_than_are_unrolled():
    size = MAX_UNROLLED_BACK.output_size((16, 16))
    inputs = torch.randn(1, 2, *size), MAX_UNROLLED_BACK, (16, 16), False
    dx = compute(window_sum.WINDOW_SUM_BACKWARD, "window_sum_backward", *inputs)
    assert_close(dx, OPERATORS["window_sum_backward"].definition(*inputs[:3]))
