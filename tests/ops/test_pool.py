"""Pooling: against loops and torch.nn; what is linear, against its transpose."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck
from torch.testing import assert_close

from layers.max_pool import switched_pixels
from layers.ops.geometry import Geometry
from layers.ops.pool import switch_dtype
from tests import reference
from tests.cases import LAYOUTS, POOL, UNDILATED, doubles, table
from tests.ops import definitions as ops
from tests.ops.linearize import assert_linear_every_time

WHOLE = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
HALF = [torch.float16, torch.bfloat16]
EXACT = dict(rtol=1e-12, atol=1e-12)
UNPADDED = [case for case in UNDILATED if case.padding == (0, 0)]


def sizes(case):
    """The geometry, and how many windows."""
    geometry = Geometry(*options(case))
    return geometry, geometry.output_size(case.image[2:], case.ceil_mode)


def options(case):
    return case.kernel, case.stride, case.padding, case.dilation


def ties(case, dtype=torch.float64):
    """Few distinct values, so that most windows have several maxima."""
    return torch.randint(0, 3, case.image).to(dtype)


@table(POOL)
def test_the_maximum_equals_the_definition(case):
    x, (geometry, output_size) = ties(case), sizes(case)
    x[torch.rand_like(x) < 0.1] = torch.nan
    x[torch.rand_like(x) < 0.5] = -torch.inf  # of which some windows have nothing else
    y, switches = ops.max_pool2d(x, geometry, output_size)
    expected = reference.max_pool2d(x, *options(case), output_size)
    assert_close(y, expected[0], rtol=0, atol=0, equal_nan=True)
    assert switches.dtype == switch_dtype(geometry)
    assert torch.equal(switches.long(), expected[1])


@pytest.mark.parametrize("layout", LAYOUTS)
@table(POOL)
def test_the_maximum_and_its_place_are_torch_s(case, layout):
    x, (geometry, output_size) = layout(ties(case)), sizes(case)
    y, switches = ops.max_pool2d(x, geometry, output_size)
    rows, columns = switched_pixels(switches, geometry)
    expected = F.max_pool2d(x, *options(case), case.ceil_mode, return_indices=True)
    assert torch.equal(y, expected[0])
    assert torch.equal(rows * case.image[3] + columns, expected[1])


@pytest.mark.parametrize("dtype", WHOLE + HALF, ids=str)
@table(POOL)
def test_the_maximum_of_other_dtypes(case, dtype):
    x, (geometry, output_size) = ties(case, dtype), sizes(case)
    ours, exact = (ops.max_pool2d(t, geometry, output_size) for t in (x, x.double()))
    assert torch.equal(ours[0], exact[0].to(dtype))
    assert torch.equal(ours[1], exact[1])


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
def test_the_largest_and_smallest_whole_numbers(dtype):
    limits = torch.iinfo(dtype)
    x = torch.full((1, 1, 4, 4), limits.min, dtype=dtype)
    x[0, 0, 2, 2], x[0, 0, 3, 3] = limits.max - 1, limits.max  # one double, if they are int64
    y, switches = ops.max_pool2d(x, Geometry((3, 3), (2, 2), (1, 1)), (2, 2))
    assert y.flatten().tolist() == [limits.min] * 3 + [limits.max]
    assert switches.flatten().tolist() == [4, 3, 1, 8]  # the first pixel that there is


def test_a_window_that_sees_only_padding():
    """It has no winner: nothing is read, and nothing goes back."""
    geometry, x = Geometry((2, 2), (1, 1), (1, 1), (3, 3)), torch.full((1, 1, 2, 2), torch.inf)
    y, switches = ops.max_pool2d(x, geometry, (1, 1))
    assert torch.equal(y, F.max_pool2d(x, 2, 1, 1, 3))
    assert y.item() == -torch.inf
    assert ops.max_pool2d_gather(x, switches, geometry).item() == 0
    assert not ops.max_pool2d_backward(y, switches, geometry, (2, 2)).any()


def test_switches_take_one_byte_up_to_256_taps():
    assert switch_dtype(Geometry((16, 16))) == torch.uint8
    for size in ((17, 17), (1, 257), (40, 40)):
        x, geometry = torch.zeros(1, 1, *size), Geometry(size)
        x[0, 0, -1, -1] = 1
        y, switches = ops.max_pool2d(x, geometry, (1, 1))
        assert switches.dtype == torch.int32
        assert switches.item() == x.numel() - 1
        assert torch.equal(ops.max_pool2d_gather(x, switches, geometry), y)
        assert torch.equal(ops.max_pool2d_backward(y, switches, geometry, size), x)


@table(POOL)
def test_gather_and_its_adjoint_equal_the_definition(case):
    (x,), (geometry, output_size) = doubles(case.image, requires_grad=False), sizes(case)
    _, switches = ops.max_pool2d(x, geometry, output_size)
    z, y = doubles(case.image, switches.shape, requires_grad=False)
    gathered = ops.max_pool2d_gather(z, switches, geometry)
    added = ops.max_pool2d_backward(y, switches, geometry, case.image[2:])
    assert torch.equal(gathered, reference.max_pool2d_gather(z, switches, *options(case)))
    expected = reference.max_pool2d_backward(y, switches, *options(case), case.image[2:])
    assert_close(added, expected, **EXACT)
    assert_close((y * gathered).sum(), (added * z).sum(), **EXACT)


@pytest.mark.parametrize("layout", LAYOUTS)
@table(POOL)
def test_backward_is_torch_s(case, layout):
    x, (geometry, output_size) = layout(ties(case)).requires_grad_(), sizes(case)
    y = F.max_pool2d(x, *options(case), case.ceil_mode)
    dy = layout(torch.randn_like(y))
    _, switches = ops.max_pool2d(x.detach(), geometry, output_size)
    dx = ops.max_pool2d_backward(dy, switches, geometry, case.image[2:])
    assert_close(dx, torch.autograd.grad(y, x, dy)[0], **EXACT)
    winners = ops.max_pool2d_gather(x.detach(), switches, geometry)
    assert torch.equal(winners, y)


def test_winners_of_several_windows_add_up():
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 2, 2] = 1
    geometry = Geometry((3, 3), (2, 2))
    y, switches = ops.max_pool2d(x, geometry, (2, 2))
    assert ops.max_pool2d_backward(y, switches, geometry, (5, 5))[0, 0, 2, 2] == 4


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_what_is_not_finite_reaches_its_pixel_alone(value):
    x, geometry = torch.arange(8.0).view(1, 2, 2, 2), Geometry((2, 2), (2, 2))
    _, switches = ops.max_pool2d(x, geometry, (1, 1))
    dx = ops.max_pool2d_backward(torch.full((1, 2, 1, 1), value), switches, geometry, (2, 2))
    expected = torch.tensor([0, 0, 0, value]).repeat(2).view(1, 2, 2, 2)
    assert_close(dx, expected, rtol=0, atol=0, equal_nan=True)
    x = torch.full((1, 2, 2, 2), value)
    x[..., 1, 1] = 5
    assert (ops.max_pool2d_gather(x, switches, geometry) == 5).all()


@table(POOL)
def test_sums_and_their_adjoint_equal_the_definition(case):
    geometry, output_size = sizes(case)
    x, y = doubles(case.image, (*case.image[:2], *output_size), requires_grad=False)
    total = ops.window_sum(x, geometry, output_size)
    spread = ops.window_sum_backward(y, geometry, case.image[2:])
    assert_close(total, reference.window_sum(x, *options(case), output_size), **EXACT)
    expected = reference.window_sum_backward(y, *options(case), case.image[2:])
    assert_close(spread, expected, **EXACT)
    assert_close((y * total).sum(), (spread * x).sum(), **EXACT)


@pytest.mark.parametrize("layout", LAYOUTS)
@table(UNDILATED)
def test_sums_and_their_adjoint_are_torch_s(case, layout):
    x, (geometry, output_size) = layout(doubles(case.image)[0]), sizes(case)
    y = F.avg_pool2d(x, *options(case)[:3], case.ceil_mode, divisor_override=1)
    dy = layout(torch.randn_like(y))
    assert_close(ops.window_sum(x.detach(), geometry, output_size), y, **EXACT)
    dx = ops.window_sum_backward(dy, geometry, case.image[2:])
    assert_close(dx, torch.autograd.grad(y, x, dy)[0], **EXACT)


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_half_precision_is_summed_in_float32(dtype):
    x, geometry = torch.ones(1, 1, 60, 60, dtype=dtype), Geometry((60, 60))
    assert ops.window_sum(x, geometry, (1, 1)).item() == 3600  # both dtypes have it
    assert ops.lp_pool2d(x, 2.0, geometry, (1, 1)).item() == 60
    y = torch.ones(1, 1, 60, 60, dtype=dtype)
    spread = ops.window_sum_backward(y, Geometry((60, 60), padding=(30, 30)), (59, 59))
    assert spread[0, 0, 29, 29].item() == 3600
    _, switches = ops.max_pool2d(F.pad(x[..., :1, :1], (29,) * 4), Geometry((30, 30)), (30, 30))
    dx = ops.max_pool2d_backward(x[..., :30, :30] * 9, switches, Geometry((30, 30)), (59, 59))
    assert dx[0, 0, 29, 29] == torch.tensor(8100.0, dtype=dtype)


def test_int64_is_summed_exactly():
    x, geometry = torch.tensor([2**53, 1, 2**62, 5]).view(1, 1, 2, 2), Geometry((2, 2))
    assert ops.window_sum(x, geometry, (1, 1)).item() == 2**53 + 2**62 + 6
    assert torch.equal(
        ops.window_sum_backward(x[..., :1, :1], geometry, (2, 2)), x[..., :1, :1].expand(x.shape)
    )


@pytest.mark.parametrize("p", [1.0, 2.0, 2.5, 3.0])
@table(UNPADDED)
def test_norms_and_their_gradient_equal_the_definition(case, p):
    (x,), (geometry, output_size) = doubles(case.image, requires_grad=False), sizes(case)
    x[:, :1] = 0  # the norms of which are 0
    y = ops.lp_pool2d(x, p, geometry, output_size)
    assert_close(y, reference.lp_pool2d(x, p, case.kernel, case.stride, output_size), **EXACT)
    dy = torch.randn_like(y)
    dx = ops.lp_pool2d_backward(dy, x, y, p, geometry)
    assert_close(dx, reference.lp_pool2d_backward(dy, x, p, case.kernel, case.stride), **EXACT)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("p", [1.0, 2.0, 2.5, 3.0])
@table([case for case in UNPADDED if not case.ceil_mode])
def test_norms_of_positive_numbers_are_torch_s(case, p, layout):
    x, (geometry, output_size) = layout(torch.rand(case.image).double() + 0.1), sizes(case)
    x.requires_grad_()
    y = F.lp_pool2d(x, p, case.kernel, case.stride)
    dy = layout(torch.randn_like(y))
    assert_close(ops.lp_pool2d(x.detach(), p, geometry, output_size), y, **EXACT)
    dx = ops.lp_pool2d_backward(dy, x.detach(), y.detach(), p, geometry)
    assert_close(dx, torch.autograd.grad(y, x, dy)[0], **EXACT)


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_norms_of_half_precision_are_rounded_once(p, dtype):
    x, geometry = torch.randn(2, 3, 8, 8).to(dtype), Geometry((3, 3), (2, 2))
    y, exact = (ops.lp_pool2d(t, p, geometry, (3, 3)) for t in (x, x.float()))
    assert torch.equal(y, exact.to(dtype))
    dy = torch.randn_like(y)
    dx = ops.lp_pool2d_backward(dy, x, y, p, geometry)
    exact = ops.lp_pool2d_backward(dy.float(), x.float(), y.float(), p, geometry)
    assert torch.equal(dx, exact.to(dtype))


@pytest.mark.parametrize("p", [1.0, 2.0, 2.5, 3.0])
@table([case for case in UNPADDED if case.image[0]])
def test_the_gradient_of_a_norm_can_be_differentiated(case, p):
    (x,), (geometry, output_size) = doubles(case.image), sizes(case)
    y = ops.lp_pool2d(x.detach(), p, geometry, output_size).requires_grad_()
    dy = torch.randn_like(y).requires_grad_()

    def backward(dy, x, y):
        return ops.lp_pool2d_backward(dy, x, y, p, geometry)

    assert gradcheck(backward, (dy, x, y), fast_mode=True, check_forward_ad=True)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_gradients_of_all_orders_are_zero_where_all_is_black(p):
    x, y, dy = doubles((1, 1, 4, 4), (1, 1, 2, 2), (1, 1, 2, 2))
    with torch.no_grad():
        x.zero_(), y.zero_()
    dx = ops.lp_pool2d_backward(dy, x, y, p, Geometry((2, 2), (2, 2)))
    assert not dx.any()
    for derivative in torch.autograd.grad(dx.sum(), (x, y, dy)):
        assert not derivative.any()


def test_the_second_derivative_of_the_l2_norm_at_a_black_pixel():
    """Of sqrt(x^2 + c^2) at x = 0, it is 1 / |c|."""
    x = torch.tensor([0.0, 0, 0, 4]).view(1, 1, 2, 2).requires_grad_()
    y, dy = torch.full((1, 1, 1, 1), 4.0), torch.ones(1, 1, 1, 1)
    dx = ops.lp_pool2d_backward(dy, x, y, 2.0, Geometry((2, 2), (2, 2)))
    (second,) = torch.autograd.grad(dx[0, 0, 0, 0], x)
    assert second.flatten().tolist() == [0.25, 0, 0, 0]


@pytest.mark.parametrize("p", [2.0, 3.0])
def test_the_gradient_of_a_norm_can_be_linearized(p):
    x, dy = doubles((2, 3, 5, 5), (2, 3, 2, 2), requires_grad=False)
    geometry = Geometry((3, 3), (2, 2))
    y = ops.lp_pool2d(x, p, geometry, (2, 2))
    assert_linear_every_time(lambda x: ops.lp_pool2d_backward(dy, x, y, p, geometry), x)
    assert_linear_every_time(lambda dy: ops.lp_pool2d_backward(dy, x, y, p, geometry), dy)
