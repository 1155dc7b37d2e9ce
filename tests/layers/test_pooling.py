"""Average, L2-norm and adaptive pooling; what all poolings share."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

import layers
import layers.functional as L
from tests import reference
from tests.cases import (
    LAYOUTS,
    UNDILATED,
    assert_same_step,
    channels_last,
    contiguous,
    doubles,
    strided,
    table,
)


@pytest.mark.parametrize("count_include_pad", [True, False])
@table(UNDILATED)
def test_average_equals_the_definition(case, count_include_pad):
    (x,) = doubles(case.image, requires_grad=False)
    options = case.kernel, case.stride, case.padding
    y = L.avg_pool2d(x, *options, case.ceil_mode, count_include_pad)
    assert_close(y, reference.avg_pool2d(x, *options, y.shape[2:], count_include_pad))


@pytest.mark.parametrize("layout", [contiguous, channels_last, strided])
@pytest.mark.parametrize("count_include_pad", [True, False])
@table(UNDILATED)
def test_average_equals_torch_forward_and_backward(case, count_include_pad, layout):
    (x,) = doubles(case.image)
    options = case.kernel, case.stride, case.padding, case.ceil_mode, count_include_pad
    ours, theirs = (f(layout(x), *options) for f in (L.avg_pool2d, F.avg_pool2d))
    assert_close(ours, theirs)
    grad = torch.randn_like(theirs)
    assert_close(*(torch.autograd.grad(y, x, grad)[0] for y in (ours, theirs)))


@table([case for case in UNDILATED if case.image[0]])
def test_average_derivatives(case):
    (x,) = doubles(case.image)

    def f(x):
        return L.avg_pool2d(x, case.kernel, case.stride, case.padding, case.ceil_mode, False).pow(2)

    assert gradcheck(f, x, fast_mode=True, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(f, x, fast_mode=True)


def test_divisor_override():
    x = torch.randn(2, 3, 4, 4)
    assert_close(L.avg_pool2d(x, 2, divisor_override=1), F.avg_pool2d(x, 2, divisor_override=1))


def test_modules_are_their_twins():
    x = torch.randn(2, 4, 9, 9)
    for name, options in (
        ("MaxPool2d", dict(kernel_size=3, stride=2)),
        ("MaxPool2d", dict(kernel_size=2, ceil_mode=True)),
        ("MaxPool2d", dict(kernel_size=3, padding=1, dilation=2)),
        ("AvgPool2d", dict(kernel_size=3, stride=2, padding=1, count_include_pad=False)),
        ("AvgPool2d", dict(kernel_size=2, divisor_override=1)),
    ):
        ours, twin = getattr(layers, name)(**options), getattr(torch.nn, name)(**options)
        assert_close(ours(x), twin(x))
        assert repr(ours) == repr(twin)
    assert_close(L.max_pool2d(x[0], 2), F.max_pool2d(x[0], 2))
    assert_close(L.avg_pool2d(x[0], 2), F.avg_pool2d(x[0], 2))


@pytest.mark.parametrize("pool", ["max_pool2d", "avg_pool2d"])
@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((2, 3, 2, 2), dict(kernel_size=3), "does not fit"),
        ((2, 3, 6, 6), dict(kernel_size=2, padding=2), "half the kernel"),
        ((2, 3, 6, 6), dict(kernel_size=0), "at least 1"),
        ((2, 3), dict(kernel_size=2), "needs images"),
    ],
)
def test_errors_name_the_rule_and_are_torch_s_kind(pool, shape, options, words):
    x = torch.randn(shape)
    with pytest.raises(RuntimeError, match=words):
        getattr(L, pool)(x, **options)
    with pytest.raises((RuntimeError, IndexError)):  # torch's average stumbles over two dimensions
        getattr(F, pool)(x, **options)


@pytest.mark.parametrize(("dtype", "value"), [(torch.bfloat16, 1.0), (torch.float16, 3000.0)])
def test_a_large_window_of_half_precision_is_added_up_in_float32(dtype, value):
    x = torch.full((1, 1, 56, 56), value, dtype=dtype)
    assert L.avg_pool2d(x, 56).item() == value


def test_a_zero_divisor_is_refused():
    with pytest.raises(RuntimeError, match="zero"):
        L.avg_pool2d(torch.randn(1, 1, 4, 4), 2, divisor_override=0)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("p", [1, 2, 3, 2.5])
@table([case for case in UNDILATED if case.padding == (0, 0) and not case.ceil_mode])
def test_lp_pool_of_positive_numbers_is_torch_s(case, p, layout):
    x = torch.rand(case.image, dtype=torch.float64).requires_grad_()
    ours, theirs = (f(layout(x), p, case.kernel, case.stride) for f in (L.lp_pool2d, F.lp_pool2d))
    assert_close(ours, theirs)
    grad = torch.randn_like(theirs)
    assert_close(*(torch.autograd.grad(y, x, grad)[0] for y in (ours, theirs)))


@pytest.mark.parametrize("layout", LAYOUTS)
@table([case for case in UNDILATED if case.padding == (0, 0)])
def test_l2_pool_is_the_root_of_the_sum_of_squares(case, layout):
    """Of as many pixels as a window sees, if it hangs over the border."""
    (x,) = doubles(case.image)
    options = case.kernel, case.stride
    ours = L.lp_pool2d(layout(x), 2, *options, case.ceil_mode)
    squares = L.avg_pool2d(layout(x) ** 2, *options, 0, case.ceil_mode, divisor_override=1)
    assert_same_step(ours, squares.sqrt(), (x,), torch.randn_like(ours))


@pytest.mark.parametrize("p", [1, 2, 3])
def test_lp_pool_is_a_norm_where_torch_gives_nan(p):
    x = torch.tensor([[0.0, 0, -3, 4], [0, 0, 0, 0]]).view(1, 1, 2, 4).requires_grad_()
    y = L.lp_pool2d(x, p, 2)
    assert_close(y.flatten(), torch.tensor([0, (3.0**p + 4.0**p) ** (1 / p)]))
    y.sum().backward()
    assert torch.isfinite(x.grad).all()
    assert (x.grad[..., :2] == 0).all()
    assert x.grad[0, 0, 0, 2] < 0 < x.grad[0, 0, 0, 3]


def test_lp_pool_derivatives_and_errors():
    (x,) = doubles((2, 2, 4, 4))
    for p in (2, 3):

        def f(x, p=p):
            return L.lp_pool2d(x, p, 3, 1)

        assert gradcheck(f, x, check_forward_ad=True, check_batched_grad=True)
        assert gradgradcheck(f, x)
    with pytest.raises(ValueError, match="at least 1"):
        L.lp_pool2d(x, 0.5, 2)


INFINITE = float("inf")


@pytest.mark.parametrize("layout", LAYOUTS)
@table([case for case in UNDILATED if case.padding == (0, 0)])
def test_lp_pool_of_an_infinite_power_is_the_largest_modulus(case, layout):
    (x,) = doubles(case.image)
    options = case.kernel, case.stride
    ours = L.lp_pool2d(layout(x), INFINITE, *options, case.ceil_mode)
    largest = F.max_pool2d(layout(x).abs(), *options, ceil_mode=case.ceil_mode)
    assert_same_step(ours, largest, (x,), torch.randn_like(largest))


def test_lp_pool_of_an_infinite_power_gives_its_gradient_to_the_winner():
    x = torch.tensor([[1.0, -3.0], [0.5, 2.0]]).view(1, 1, 2, 2).requires_grad_()
    y = L.lp_pool2d(x, INFINITE, 2)
    y.backward()
    assert y.item() == 3
    assert x.grad.flatten().tolist() == [0, -1, 0, 0]
    assert torch.equal(layers.LPPool2d(INFINITE, 2)(x[0]), y[0])


def test_lp_pool_of_an_infinite_power_derivatives():
    (x,) = doubles((2, 2, 4, 4))

    def f(x):
        return L.lp_pool2d(x, INFINITE, 3, 1)

    assert gradcheck(f, x, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(f, x)


@pytest.mark.parametrize("size", [1, (1, 1), (3, 2), (None, 4), (7, 9), 6])
@pytest.mark.parametrize("layout", [contiguous, channels_last, strided])
def test_adaptive_average_equals_torch(size, layout):
    (x,) = doubles((2, 3, 7, 9))
    ours, theirs = (f(layout(x), size) for f in (L.adaptive_avg_pool2d, F.adaptive_avg_pool2d))
    assert_close(ours, theirs)
    grad = torch.randn_like(theirs)
    assert_close(*(torch.autograd.grad(y, x, grad)[0] for y in (ours, theirs)))
    assert gradcheck(lambda x: L.adaptive_avg_pool2d(x, size), x, fast_mode=True)
    with pytest.raises(RuntimeError, match="at least 0 x 0"):
        L.adaptive_avg_pool2d(x, (3, -1))
    with pytest.raises(RuntimeError, match="needs images"):
        L.adaptive_avg_pool2d(x[0, 0], 1)
