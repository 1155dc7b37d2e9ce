"""Local response and batch normalisation, and dropout."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import grad, jvp
from torch.testing import assert_close

import layers
import layers.functional as L
from tests.cases import LAYOUTS, assert_same_step, channels_last, contiguous, doubles


def compare(ours, theirs, *inputs):
    """Values and every gradient."""
    a, b = ours(*inputs), theirs(*inputs)
    assert_same_step(a, b, inputs, torch.randn_like(b))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("beta", [0.75, 0.5])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 11])
def test_response_norm_equals_torch(size, beta, layout):
    (x,) = doubles((3, 7, 4, 19))
    compare(
        lambda x: L.local_response_norm(layout(x), size, 0.3, beta, 2.0),
        lambda x: F.local_response_norm(layout(x), size, 0.3, beta, 2.0),
        x,
    )


def test_response_norm_equals_the_definition():
    """Krizhevsky et al. 2012, section 3.3: sums over max(0, i - n/2) .. min(N - 1, i + n/2)."""
    (a,) = doubles((1, 6, 2, 2), requires_grad=False)
    k, n, alpha, beta = 2.0, 5, 1e-4, 0.75
    for divided, weight in ((False, alpha), (True, alpha / n)):
        b = L.local_response_norm(a * 100, n, alpha, beta, k, divide_alpha=divided)
        for i in range(6):
            near = range(max(0, i - n // 2), min(5, i + n // 2) + 1)
            total = sum((100 * a[0, j, 1, 0].item()) ** 2 for j in near)
            expected = 100 * a[0, i, 1, 0].item() / (k + weight * total) ** beta
            assert b[0, i, 1, 0].item() == pytest.approx(expected, rel=1e-12)


def test_the_paper_read_literally_is_five_times_alpha():
    x = torch.randn(2, 8, 3, 3)
    literal = L.local_response_norm(x, 5, 1e-4, 0.75, 2.0, divide_alpha=False)
    assert_close(literal, F.local_response_norm(x, 5, 5e-4, 0.75, 2.0))


def test_response_norm_of_no_channels():
    assert L.local_response_norm(torch.randn(2, 0, 3, 3), 5).shape == (2, 0, 3, 3)


@pytest.mark.parametrize("size", [2, 5])
def test_response_norm_derivatives(size):
    (x,) = doubles((2, 6, 2, 2))

    def f(x):
        return L.local_response_norm(x, size, 0.5, 0.75, 2.0)

    assert gradcheck(f, x, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(f, x)


def test_response_norm_keeps_its_input_alone():
    saved = []
    x = torch.randn(2, 6, 4, 4, requires_grad=True)
    hooks = (lambda t: saved.append(t.shape) or t), (lambda t: t)
    with torch.autograd.graph.saved_tensors_hooks(*hooks):
        L.local_response_norm(x, 5)
    assert saved == [x.shape]


@pytest.mark.parametrize("layout", LAYOUTS[:3])
@pytest.mark.parametrize("shape", [(4, 3, 5, 5), (2, 3, 1, 1), (6, 3)], ids=str)
def test_batch_norm_in_training_equals_torch(shape, layout):
    layout = layout if len(shape) == 4 else contiguous
    x, weight, bias = doubles(shape, 3, 3)
    compare(
        lambda x, w, b: L.batch_norm(layout(x), None, None, w, b, True),
        lambda x, w, b: F.batch_norm(layout(x), None, None, w, b, True),
        x, weight, bias,
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(5, 3, 7, 4), (5, 3, 9), (40, 3), (7, 3, 9, 11)], ids=str)
@pytest.mark.parametrize("far", [0.0, 1e3], ids=["near", "far"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_batch_norm_of_many_numbers_equals_torch(shape, far, layout):
    """Whole blocks of pixels and others, even and odd."""
    layout = layout if len(shape) == 4 else contiguous
    x, weight, bias = doubles(shape, 3, 3)
    compare(
        lambda x, w, b: L.batch_norm(layout(x + far), None, None, w, b, True),
        lambda x, w, b: F.batch_norm(layout(x + far), None, None, w, b, True),
        x, weight, bias,
    )  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_batch_norm_is_exact_where_the_mean_is_far_from_zero(layout):
    x = layout(torch.randn(8, 4, 16, 16) + torch.tensor([0.0, 3.0, 30.0, 300.0]).view(4, 1, 1))
    y = L.batch_norm(x, None, None, training=True)
    exact = F.batch_norm(x.double(), None, None, training=True)
    assert_close(y.double(), exact, rtol=0, atol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_batch_norm_is_exact_where_the_first_number_is_far_from_the_mean(layout):
    """One of 50,000 numbers, that is a tenth of the variance, or makes up most of it."""
    for outlier in (70, 10_000):
        x = torch.randn(4, 2, 112, 112)
        x[0, :, 0, 0] = outlier
        weight = torch.ones(2)
        running = torch.zeros(2), torch.zeros(2)
        L.batch_norm(layout(x), *running, weight, training=True, momentum=1)
        v, m = torch.var_mean(x.double(), (0, 2, 3))
        assert_close(running[0].double(), m, rtol=1e-4, atol=1e-5)
        assert_close(running[1].double(), v, rtol=1e-4, atol=0)


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("upstream", [contiguous, channels_last])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_batch_norm_s_outputs_lie_as_the_compiler_is_told(layout, upstream, kernels):
    x, dy = (f(torch.randn(2, 3, 4, 5)) for f in (layout, upstream))
    (m, v), options = torch.rand(2, 3), (1e-5, layout is channels_last, kernels)
    for operator, arguments in (
        (torch.ops.convnets.batch_norm, (x, m, v, *options)),
        (torch.ops.convnets.batch_norm_backward, (dy, x, m, m, v, *options)),
    ):
        torch.library.opcheck(operator.default, arguments, test_utils="test_faketensor")


def test_batch_norm_with_running_statistics_equals_torch():
    x, weight, bias, mean = doubles((4, 3, 5, 5), 3, 3, 3)
    mean, var = mean.detach(), torch.rand(3, dtype=torch.float64) + 0.5
    compare(
        lambda x, w, b: L.batch_norm(x, mean, var, w, b),
        lambda x, w, b: F.batch_norm(x, mean, var, w, b),
        x, weight, bias,
    )  # fmt: skip


def test_batch_norm_derivatives():
    x, weight, bias = doubles((3, 2, 2, 2), 2, 2)

    def f(x, weight, bias):
        return L.batch_norm(x, None, None, weight, bias, True)

    assert gradcheck(f, (x, weight, bias), check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(f, (x, weight, bias))


@pytest.mark.parametrize(
    "options",
    [{}, dict(momentum=None), dict(affine=False), dict(track_running_stats=False)],
    ids=str,
)
def test_batch_norm_module_through_training_and_evaluation(options):
    ours, theirs = layers.BatchNorm2d(4, **options), torch.nn.BatchNorm2d(4, **options)
    for _ in range(3):
        x = torch.randn(5, 4, 3, 3) * 3 + 1
        assert_close(ours(x), theirs(x))
    for name, value in theirs.state_dict().items():
        assert_close(ours.state_dict()[name], value)
    ours.eval(), theirs.eval()
    assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("momentum", [0.1, None, 0.0])
@pytest.mark.parametrize("statistics", [True, False])
def test_batch_norm_counts_and_averages_as_torch_whatever_is_set_later(momentum, statistics):
    modules = [
        nn.BatchNorm2d(4, momentum=momentum, track_running_stats=statistics)
        for nn in (layers, torch.nn)
    ]

    def same():
        x = torch.randn(2, 4, 6, 6)
        assert_close(*(module(x) for module in modules))
        assert_close(*(dict(module.named_buffers()) for module in modules))

    for training, track in [(True, True), (False, True), (True, False), (False, False)] * 2:
        for module in modules:
            module.train(training).track_running_stats = track
        same()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_batch_norm_of_half_precision_keeps_its_statistics_in_float32(dtype):
    ours, theirs = layers.BatchNorm2d(4), torch.nn.BatchNorm2d(4)
    x = (torch.randn(64, 4, 3, 3) + 10).to(dtype)
    assert_close(ours(x), theirs(x), rtol=2e-2, atol=2e-2)
    assert_close(ours.running_var, theirs.running_var, rtol=1e-3, atol=1e-3)


def test_batch_norm_backward_over_forward_and_forward_over_backward():
    x, u, weight = doubles((4, 3, 2, 2), (4, 3, 2, 2), 3, requires_grad=False)
    found = []

    def ours(x):
        return L.batch_norm(x, None, None, weight, None, True)

    def plain(x):  # elementary operations; torch's own batch_norm is wrong backward over forward
        v, m = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
        return weight[:, None, None] * (x - m) / (v + 1e-5).sqrt()

    for norm in (ours, plain):

        def f(x, norm=norm):
            return norm(x).pow(3).sum()

        def directional(z, f=f):
            return jvp(f, (z,), (u,))[1]

        found.append((grad(directional)(x), jvp(grad(f), (x,), (u,))[1]))
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(x.clone().requires_grad_(), u)
            (dx,) = torch.autograd.grad(f(dual), dual)
            found[-1] += (forward_ad.unpack_dual(dx).tangent,)
    assert_close(*found)


def test_batch_norm_of_an_empty_batch_keeps_its_statistics():
    norm = layers.BatchNorm2d(3)
    assert norm(torch.randn(0, 3, 2, 2)).shape == (0, 3, 2, 2)
    assert norm.running_mean.tolist() == [0, 0, 0]
    assert norm.running_var.tolist() == [1, 1, 1]


def test_response_norm_of_half_precision_does_not_overflow_in_any_derivative():
    x = torch.full((1, 4, 2, 2), 300.0).half().requires_grad_()
    y = L.local_response_norm(x, 5, 1.0)
    first, again = (
        torch.autograd.grad(y.sum(), x, retain_graph=True, create_graph=create)[0]
        for create in (False, True)
    )
    assert_close(first, again.detach())
    assert first.any()


def test_batch_norm_errors():
    x = torch.randn(1, 3, 1, 1)
    for norm in (L.batch_norm, F.batch_norm):
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            norm(x, None, None, training=True)
        with pytest.raises(RuntimeError):
            norm(torch.randn(2, 3, 2, 2), torch.zeros(4), torch.ones(4))
    with pytest.raises(RuntimeError, match="running_mean must have 3 numbers"):
        L.batch_norm(torch.randn(2, 3, 2, 2), torch.zeros(4), torch.ones(4))
    with pytest.raises(RuntimeError, match="are needed"):
        L.batch_norm(torch.randn(2, 3, 2, 2), None, None)
    with pytest.raises(ValueError, match="4D"):
        layers.BatchNorm2d(3)(torch.randn(2, 3))


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_dropout_draws_torch_s_mask(p):
    x = torch.randn(50, 40, requires_grad=True)
    results = []
    for dropout in (L.dropout, F.dropout):
        torch.manual_seed(3)
        y = dropout(x, p)
        results.append((y, torch.autograd.grad(y.sum(), x)[0]))
    assert_close(*results)
    assert L.dropout(x, p, training=False) is x


def test_dropout_derivatives_and_errors():
    (x,) = doubles((4, 5))

    def f(x):
        torch.manual_seed(0)
        return L.dropout(x, 0.5)

    assert gradcheck(f, x, check_forward_ad=True)
    assert gradgradcheck(f, x)
    with pytest.raises(ValueError, match="between 0 and 1"):
        L.dropout(x, 1.5)
    with pytest.raises(ValueError, match="inplace"):
        L.dropout(x, 0.5, inplace=True)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(name):
    (x,) = doubles((3, 4, 2))
    ours, theirs = getattr(L, name), getattr(F, name)
    for dim in (0, 1, -1):
        compare(lambda x, d=dim: ours(x, d), lambda x, d=dim: theirs(x, d), x)
    assert gradcheck(lambda x: ours(x, 1), x, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(lambda x: ours(x, 1), x)
    for shape, dim in (((3, 0), 1), ((3, 0), 0), ((0,), 0), ((0, 3), 1), ((), 0), ((), -1)):
        (x,) = doubles(shape)
        compare(lambda x, d=dim: ours(x, d), lambda x, d=dim: theirs(x, d), x)
    for softmax in (ours, theirs):
        with pytest.raises(IndexError, match="out of range"):
            softmax(torch.zeros(2, 3), 2)
    huge = torch.tensor([[1e5, -1e5, 1e5]])
    assert_close(ours(huge, 1), theirs(huge, 1))
    module = layers.Softmax() if name == "softmax" else layers.LogSoftmax()
    with pytest.raises(ValueError, match="dim=1"):
        module(x)


def test_scaled_tanh():
    (x,) = doubles((3, 4))
    compare(L.scaled_tanh, lambda x: 1.7159 * torch.tanh(2 / 3 * x), x)
    assert gradcheck(L.scaled_tanh, x, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(L.scaled_tanh, x)
    assert_close(layers.ScaledTanh()(torch.ones(1)), torch.ones(1), atol=1e-4, rtol=0)


def test_response_norm_errors():
    with pytest.raises(ValueError, match="needs"):
        L.local_response_norm(torch.randn(2, 3), 3)
    with pytest.raises(RuntimeError, match="at least 1"):
        L.local_response_norm(torch.randn(2, 3, 4), 0)


@pytest.mark.parametrize(
    ("size", "error"), [(0, RuntimeError), (2.5, TypeError), ("3", TypeError), (None, TypeError)]
)
def test_response_norm_s_size_is_a_whole_number(size, error):
    for nn in (L, F):
        with pytest.raises(error):
            nn.local_response_norm(torch.randn(2, 3, 4, 4), size)
