"""Max-pooling through switches, and unpooling."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

import layers
import layers.functional as L
from layers.max_pool import MaxPoolBackward, MaxPoolGather
from layers.ops.geometry import Geometry
from tests import reference
from tests.cases import LAYOUTS, LONG_ROWS, POOL, UNDILATED, channels_last, doubles, table


def arguments(case):
    return case.kernel, case.stride, case.padding, case.dilation, case.ceil_mode


def ties(case):
    """Few distinct values, so that most windows have several maxima."""
    return torch.randint(0, 3, case.image).double().requires_grad_()


@table(POOL)
def test_max_equals_the_definition(case):
    x = ties(case).detach()
    y, switches = L.max_pool2d_with_switches(x, *arguments(case))
    expected = reference.max_pool2d(x, *arguments(case)[:4], y.shape[2:])
    assert_close(y, expected[0])
    assert torch.equal(switches.long(), expected[1])


@pytest.mark.parametrize("layout", LAYOUTS)
@table(POOL + LONG_ROWS)
def test_max_equals_torch_forward_and_backward(case, layout):
    x = ties(case)
    ours, theirs = (f(layout(x), *arguments(case)) for f in (L.max_pool2d, F.max_pool2d))
    assert torch.equal(ours, theirs)
    grad = layout(torch.randn_like(theirs))
    assert_close(*(torch.autograd.grad(y, x, grad)[0] for y in (ours, theirs)))


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("options", [(3, 2, 1), (2,), (3, 2, 0, 2)], ids=str)
def test_more_maps_and_rows_than_are_taken_together(options, layout):
    """70 maps are a block of 64 and one of 6, and 50 x 50 pixels more than one band of rows."""
    x = layout(torch.randint(0, 50, (2, 35, 50, 50)).float()).requires_grad_()
    ours, theirs = (f(x, *options) for f in (L.max_pool2d, F.max_pool2d))
    assert torch.equal(ours, theirs)
    grad = torch.randn_like(theirs)
    assert_close(*(torch.autograd.grad(y, x, grad)[0] for y in (ours, theirs)))


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_outputs_lie_as_the_compiler_is_told(dtype, last, kernels):
    x = channels_last(torch.randn(2, 3, 4, 8)).to(dtype)[..., ::2]
    pool, operators, options = [2, 2, 2, 2, 0, 0, 1, 1, 1], torch.ops.convnets, (last, kernels)
    y, switches = operators.max_pool2d(x, pool, [2, 2], *options)
    for operator, arguments in (
        (operators.max_pool2d, (x, pool, [2, 2])),
        (operators.max_pool2d_gather, (x, switches, pool, [2, 2])),
        (operators.max_pool2d_backward, (y[..., ::2], switches[..., ::2], pool, [4, 2])),
        (operators.window_sum, (x, pool, [2, 2])),
        (operators.window_sum_backward, (y[..., ::2], pool, [4, 2])),
        (operators.lp_pool2d, (x, 2.0, pool, [2, 2])),
        (operators.lp_pool2d, (x, 3.0, pool, [2, 2])),
        (operators.lp_pool2d_backward, (y, x, y.abs(), 2.0, pool)),
        (operators.lp_pool2d_backward, (y, x, y.abs(), 3.0, pool)),
    ):
        inputs = *arguments, *options
        torch.library.opcheck(operator.default, inputs, test_utils="test_faketensor")


@table(POOL + LONG_ROWS)
def test_max_propagates_nan_and_infinity_as_torch(case):
    x = ties(case).detach()
    x[torch.rand_like(x) < 0.2] = torch.nan
    x[torch.rand_like(x) < 0.3] = -torch.inf
    x.requires_grad_()
    ours, theirs = (f(x, *arguments(case)) for f in (L.max_pool2d, F.max_pool2d))
    assert_close(ours, theirs, equal_nan=True)
    grad = torch.randn_like(theirs)
    assert_close(*(torch.autograd.grad(y, x, grad)[0] for y in (ours, theirs)))


@pytest.mark.parametrize("size", [1, 4])
def test_layouts_that_a_single_pixel_hides(size):
    """One pixel lies channels first and last; what it came from, or goes to, need not."""
    x, options = torch.randn(2, 3, size, size), (2, 1, 1) if size == 1 else (size,)
    x = channels_last(x).double().requires_grad_()
    ours, theirs = (f(x, *options) for f in (L.max_pool2d, F.max_pool2d))
    grad = channels_last(torch.randn_like(ours))
    first = [torch.autograd.grad(y, x, grad, create_graph=True)[0] for y in (ours, theirs)]
    assert_close(*first)
    assert gradgradcheck(lambda x: L.max_pool2d(channels_last(x), *options) ** 2, x)


def test_every_other_image_of_a_channels_last_batch():
    x = channels_last(torch.randn(4, 3, 6, 6))[::2]
    y, tangent = torch.func.jvp(lambda x: L.max_pool2d(x, 2), (x,), (x,))
    assert torch.equal(y, tangent)


def test_far_apart_taps_of_a_large_image():
    """Sixteen million numbers, all of which a float32 has, and taps beyond."""
    x = channels_last(torch.randn(1, 4095, 64, 64))
    grads = []
    for f in (L.max_pool2d, F.max_pool2d):
        leaf = x.clone().requires_grad_()
        f(leaf, (60, 2), 1, 0, (1, 61)).sum().backward()
        grads.append(leaf.grad)
    assert torch.equal(*grads)


def test_a_window_that_sees_only_padding_has_no_gradient():
    x = torch.randn(1, 1, 2, 2, requires_grad=True)
    y = L.max_pool2d(x, 2, 1, 1, 3)
    assert torch.equal(y, F.max_pool2d(x, 2, 1, 1, 3))
    y.sum().backward()
    assert x.grad.sum() == y.isfinite().sum()


def test_unpooling_drops_what_lies_outside():
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 0, 3] = 5
    pooled = L.max_pool2d_with_switches(x, 3, 2, 1)
    assert torch.equal(L.max_unpool2d(*pooled, 3, 2, 1), torch.zeros(1, 1, 3, 3))
    assert torch.equal(L.max_unpool2d(*pooled, 3, 2, 1, (4, 4)), x)


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_an_infinite_gradient_reaches_the_winner_alone(layout):
    x = layout(torch.arange(8.0).view(1, 2, 2, 2)).requires_grad_()
    L.max_pool2d(x, 2).backward(layout(torch.full((1, 2, 1, 1), torch.inf)))
    assert x.grad.flatten().tolist() == [0, 0, 0, torch.inf] * 2


@table([case for case in POOL if case.image[0]])
def test_max_derivatives(case):
    x = torch.randperm(torch.Size(case.image).numel()).double().view(case.image).requires_grad_()

    def f(x):
        return L.max_pool2d(x, *arguments(case))

    assert gradcheck(f, x, fast_mode=True, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(f, x, fast_mode=True)


@pytest.mark.parametrize("last", [True, False])
@table(POOL)
def test_gather_and_backward_are_adjoint(case, last):
    """<y, gather(x)> = <backward(y), x>, and they are each other's derivative."""
    (x,) = doubles(case.image, requires_grad=False)
    _, switches = L.max_pool2d_with_switches(x, *arguments(case))
    geometry = Geometry(*arguments(case)[:4]).flatten()
    z, y = doubles(x.shape, switches.shape)

    def gather(z):
        return MaxPoolGather.apply(z, switches, geometry, switches.shape[2:], last, True)

    def backward(y):
        return MaxPoolBackward.apply(y, switches, geometry, x.shape[2:], last, True)

    assert_close((y * gather(z)).sum(), (backward(y) * z).sum())
    if case.image[0]:
        assert gradcheck(gather, z, fast_mode=True, check_forward_ad=True)
        assert gradcheck(backward, y, fast_mode=True, check_forward_ad=True)


def test_overlapping_winners_add_up():
    """A pixel that wins in four windows receives four gradients."""
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 2, 2] = 1
    x.requires_grad_()
    L.max_pool2d(x, 3, 2).sum().backward()
    assert x.grad[0, 0, 2, 2] == 4


def test_switches_take_one_byte():
    x = torch.randn(2, 3, 8, 8)
    saved = []
    x.requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        L.max_pool2d(x, 2)
    assert [(t.dtype, t.numel()) for t in saved] == [(torch.uint8, 2 * 3 * 4 * 4)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("size", [17, 190])
def test_switches_of_large_windows_count_beyond_half_precision(size, dtype):
    """To 288 and 36,099, where bfloat16 has whole numbers to 256 and int16 to 32,767."""
    x = torch.randperm(size * size).view(1, 1, size, size).to(dtype).requires_grad_()
    y, switches = L.max_pool2d_with_switches(x, size)
    _, index = F.max_pool2d(x, size, return_indices=True)
    assert switches.item() == index.item()
    y.sum().backward()
    assert x.grad.flatten().nonzero().tolist() == [[index.item()]]


@table(POOL)
def test_indices_are_torch_s(case):
    x = ties(case)
    ours = L.max_pool2d(x, *arguments(case), return_indices=True)
    theirs = F.max_pool2d(x, *arguments(case), return_indices=True)
    assert_close(ours, theirs)


UNPOOL = [case for case in UNDILATED if not case.ceil_mode]


@table(UNPOOL)
def test_unpooling_is_the_transpose_of_pooling(case):
    """By switches or by torch's indices, to any image size; the gradient pooling would send."""
    x = ties(case)
    pooled, switches = L.max_pool2d_with_switches(x, *arguments(case))
    y = torch.randn_like(pooled)
    options = case.kernel, case.stride, case.padding, x.shape[2:]
    (expected,) = torch.autograd.grad(pooled, x, y)
    assert_close(L.max_unpool2d(y, switches, *options), expected)
    _, indices = L.max_pool2d(x, *arguments(case), return_indices=True)
    assert_close(L.max_unpool2d(y, indices, *options), expected)


def test_unpooling_adds_where_torch_drops():
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 2, 2] = 1
    y, indices = L.max_pool2d(x, 3, 2, return_indices=True)
    ones = torch.ones_like(y)
    assert L.max_unpool2d(ones, indices, 3, 2)[0, 0, 2, 2] == 4
    assert F.max_unpool2d(ones, indices, 3, 2)[0, 0, 2, 2] == 1


def test_unpooling_without_overlap_is_torch_s():
    for shape in ((2, 3, 6, 8), (3, 6, 8)):
        x = torch.randn(shape)
        y, indices = F.max_pool2d(x, 2, return_indices=True)
        assert_close(L.max_unpool2d(y, indices, 2), F.max_unpool2d(y, indices, 2))
        ours, theirs = layers.MaxUnpool2d(2), torch.nn.MaxUnpool2d(2)
        assert_close(ours(y, indices), theirs(y, indices))
        size = x.shape[-2:]
        assert_close(ours(y, indices, size), theirs(y, indices, size))


def test_unpooling_derivatives_and_errors():
    x, y = doubles((2, 2, 6, 6), (2, 2, 3, 3))
    _, switches = L.max_pool2d_with_switches(x, 2)
    _, indices = L.max_pool2d(x, 2, return_indices=True)
    for places in (switches, indices):

        def f(y, places=places):
            return L.max_unpool2d(y, places, 2)

        assert gradcheck(f, y, check_forward_ad=True)
        assert gradgradcheck(f, y)
    with pytest.raises(RuntimeError, match="shaped like"):
        L.max_unpool2d(y, indices[:1], 2)
    with pytest.raises(RuntimeError, match="out of bounds"):
        L.max_unpool2d(y, indices + 36, 2)
    with pytest.raises(RuntimeError, match="must be switches"):
        L.max_unpool2d(y, indices.int(), 2)
    together = torch.vmap(lambda y, i: L.max_unpool2d(y, i, 2))(y[:, None], indices[:, None])
    assert_close(together[:, 0], L.max_unpool2d(y, indices, 2))
