"""The convolution trio: against loops and torch, against each other, and all their derivatives."""

import pickle

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

import layers
import layers.functional as L
from tests import reference
from tests.cases import (
    CONV,
    LAYOUTS,
    assert_same_step,
    channels_last,
    contiguous,
    doubles,
    fake_cuda,
    table,
)  # fmt: skip

NUMBERED = [case for case in CONV if not isinstance(case.padding, str)]
DIFFERENTIABLE = [case for case in CONV if case.image[0]]


@table(NUMBERED)
def test_equals_the_definition(case):
    x, weight, bias = doubles(case.image, case.weight, case.filters, requires_grad=False)
    expected = reference.conv2d(x, weight, bias, **case.options)
    assert_close(L.conv2d(x, weight, bias, **case.options), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS)
@table(CONV)
def test_equals_torch_forward_and_backward(case, layout):
    x, weight, bias = doubles(case.image, case.weight, case.filters)
    ours = L.conv2d(layout(x), weight, bias, **case.options)
    theirs = F.conv2d(layout(x), weight, bias, **case.options)
    assert_same_step(ours, theirs, (x, weight, bias), layout(torch.randn_like(theirs)))


@table(NUMBERED)
def test_one_scalar_computed_three_ways(case):
    """<g, C(x, w)> = <x, C_input(w, g)> = <w, C_weight(x, g)>: the trio is one trilinear form."""
    x, weight = doubles(case.image, case.weight, requires_grad=False)
    y = L.conv2d(x, weight, **case.options)
    g = torch.randn_like(y)
    scalar = (g * y).sum()
    assert_close((x * L.conv2d_input(x.shape, weight, g, **case.options)).sum(), scalar)
    assert_close((weight * L.conv2d_weight(x, weight.shape, g, **case.options)).sum(), scalar)


@table(DIFFERENTIABLE)
def test_derivatives(case):
    x, weight, bias = doubles(case.image, case.weight, case.filters)

    def f(x, weight, bias):
        return L.conv2d(x, weight, bias, **case.options)

    assert gradcheck(f, (x, weight, bias), fast_mode=True, check_forward_ad=True)
    assert gradcheck(f, (x, weight, bias))
    assert gradgradcheck(f, (x, weight, bias), fast_mode=True)


@table([case for case in NUMBERED if case.image[0]])
def test_derivatives_of_the_derivatives(case):
    x, weight = doubles(case.image, case.weight)
    g = torch.randn_like(L.conv2d(x, weight, **case.options)).detach().requires_grad_()

    def by_input(weight, g):
        return L.conv2d_input(x.shape, weight, g, **case.options)

    def by_weight(x, g):
        return L.conv2d_weight(x, weight.shape, g, **case.options)

    for f, inputs in ((by_input, (weight, g)), (by_weight, (x, g))):
        assert gradcheck(f, inputs, fast_mode=True, check_forward_ad=True)
        assert gradgradcheck(f, inputs, fast_mode=True)


def test_third_derivative_exists():
    x, weight = doubles((1, 2, 4, 4), (2, 2, 3, 3))
    for conv in (L.conv2d, F.conv2d):
        y = conv(x, weight).pow(3).sum()
        for _ in range(3):
            (derivative,) = torch.autograd.grad(y, x, create_graph=True)
            y = derivative.pow(2).sum()
        if conv is L.conv2d:
            ours = derivative
    assert_close(ours, derivative)


@pytest.mark.parametrize("needs", ["x", "weight"])
def test_only_the_asked_gradient_is_computed(needs):
    x, weight = doubles((1, 2, 4, 4), (2, 2, 3, 3), requires_grad=False)
    {"x": x, "weight": weight}[needs].requires_grad_()
    L.conv2d(x, weight).sum().backward()
    assert (x.grad is None) == (needs == "weight")
    assert (weight.grad is None) == (needs == "x")


def test_saves_only_image_and_filters():
    saved = []
    x, weight, bias = doubles((2, 3, 8, 8), (4, 3, 3, 3), 4)
    hooks = (lambda t: saved.append(t.shape) or t), (lambda t: t)
    with torch.autograd.graph.saved_tensors_hooks(*hooks):
        L.conv2d(x, weight, bias, padding=1)
    assert sorted(saved) == sorted([x.shape, weight.shape])


def test_channels_last_in_channels_last_out():
    x = channels_last(torch.randn(2, 16, 6, 6))
    y = L.conv2d(x, torch.randn(8, 16, 3, 3))
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_module_is_its_twin():
    for options in (
        dict(),
        dict(stride=2, padding=1, bias=False),
        dict(padding="same", dilation=2),
        dict(padding=1, padding_mode="reflect"),
        dict(padding=(1, 2), padding_mode="circular", groups=2),
    ):
        twin = torch.nn.Conv2d(4, 6, 3, **options)
        ours = layers.Conv2d(4, 6, 3, **options)
        ours.load_state_dict(twin.state_dict())
        x = torch.randn(2, 4, 8, 8)
        assert_close(ours(x), twin(x))
        assert repr(ours) == repr(twin)


def test_unbatched_image():
    x, weight = torch.randn(3, 6, 6), torch.randn(4, 3, 3, 3)
    assert_close(L.conv2d(x, weight), F.conv2d(x, weight))


@pytest.mark.parametrize(
    ("shapes", "options", "words"),
    [
        (((2, 3, 6, 6), (4, 2, 3, 3)), {}, "read 2 channels"),
        (((2, 4, 6, 6), (3, 2, 3, 3)), {"groups": 2}, "shared equally"),
        (((2, 3, 2, 2), (4, 3, 3, 3)), {}, "does not fit"),
        (((2, 3), (4, 3, 3, 3)), {}, "needs images"),
        (((2, 3, 6, 6), (4, 3, 3, 3)), {"stride": 0}, "at least 1"),
        (((2, 3, 6, 6), (4, 3, 3, 3)), {"padding": -1}, "at least 0"),
        (((2, 3, 6, 6), (4, 3, 3, 3)), {"stride": (1, 1, 1)}, "pair"),
        (((2, 3, 6, 6), (4, 3, 3, 3)), {"padding": "same", "stride": 2}, "stride 1"),
        (((2, 3, 6, 6), (4, 3, 3, 3)), {"padding": "full"}, "'same', 'valid'"),
    ],
)
def test_errors_name_the_rule_and_are_torch_s_kind(shapes, options, words):
    x, weight = (torch.randn(shape) for shape in shapes)
    with pytest.raises(RuntimeError, match=words):
        L.conv2d(x, weight, **options)
    with pytest.raises(RuntimeError):
        F.conv2d(x, weight, **options)


def test_wrong_bias_and_mixed_dtypes_are_refused():
    x, weight = torch.randn(2, 3, 6, 6), torch.randn(4, 3, 3, 3)
    with pytest.raises(RuntimeError, match="4 biases"):
        L.conv2d(x, weight, torch.zeros(3))
    with pytest.raises(RuntimeError, match="one dtype"):
        L.conv2d(x.double(), weight)
    with pytest.raises(RuntimeError, match="one dtype"):
        L.conv2d(x, weight, torch.zeros(4).double())


def test_a_gradient_of_another_shape_is_refused():
    x, weight = torch.randn(1, 4, 5, 6), torch.randn(8, 4, 3, 3)
    good, bad = torch.randn(1, 8, 3, 4), torch.randn(1, 8, 2, 6)  # as many pixels
    L.conv2d_input(x.shape, weight, good)
    with pytest.raises(RuntimeError, match=r"\(N, 8, 3, 4\), got \(1, 8, 2, 6\)"):
        L.conv2d_input(x.shape, weight, bad)
    with pytest.raises(RuntimeError, match=r"\(N, 8, 3, 4\), got"):
        L.conv2d_weight(x, weight.shape, bad)
    with pytest.raises(RuntimeError, match="2 images, but gradients of 1"):
        L.conv2d_weight(torch.cat((x, x)), weight.shape, good)
    with pytest.raises(RuntimeError, match="one dtype"):
        L.conv2d_input(x.shape, weight, good.double())
    for f in (L.conv2d_input, L.conv2d_weight):
        compiled = torch.compile(f, fullgraph=True, backend="aot_eager")
        arguments = (x.shape, weight, good) if f is L.conv2d_input else (x, weight.shape, good)
        assert_close(compiled(*arguments), f(*arguments))
    with pytest.raises(RuntimeError, match="read 4 channels do not fit"):
        L.conv2d_input((1, 5, 5, 6), weight, good)


@pytest.mark.parametrize("algorithm", ["auto", "im2col"])
@pytest.mark.parametrize("shape", [(0, 3, 3, 3), (4, 0, 3, 3)], ids=str)
def test_no_filters_or_no_channels(shape, algorithm):
    with pytest.raises(RuntimeError, match="needs filters and channels"):
        L.conv2d(torch.zeros(2, shape[1], 6, 6), torch.zeros(shape), algorithm=algorithm)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("groups", [1, 2])
def test_pointwise_filters_take_large_maps_where_they_lie(groups, layout):
    x, weight = doubles((3, 4, 12, 13), (6, 4 // groups, 1, 1))
    ours, theirs = (f(layout(x), weight, groups=groups) for f in (L.conv2d, F.conv2d))
    assert_close(ours, theirs)
    assert layout is not contiguous or ours.is_contiguous()
    grad = layout(torch.randn_like(theirs))
    pairs = (torch.autograd.grad(y, (x, weight), grad) for y in (ours, theirs))
    assert_close(*pairs)
    assert gradgradcheck(
        lambda x, w: L.conv2d(layout(x), w, groups=groups),
        doubles((1, 2 * groups, 8, 16), (2 * groups, 2, 1, 1)),
    )


def test_vmap_over_the_bias_alone():
    x, weight, biases = torch.randn(2, 3, 6, 6), torch.randn(4, 3, 3, 3), torch.randn(5, 4)
    together = torch.vmap(lambda b: L.conv2d(x, weight, b))(biases)
    assert_close(together, torch.stack([L.conv2d(x, weight, b) for b in biases]))


def test_a_layer_that_has_no_algorithm_takes_auto():
    """A torch.nn.Conv2d that was made ours, and a layer pickled before there was a choice."""
    x = torch.randn(1, 64, 8, 8)
    swapped = torch.nn.Conv2d(64, 64, 3, padding=1)
    swapped.__class__ = layers.Conv2d
    old = layers.Conv2d(64, 64, 3, padding=1)
    del old.__dict__["algorithm"]
    old = pickle.loads(pickle.dumps(old))
    for layer in (swapped, old):
        assert layer.algorithm == "auto"
        expected = L.conv2d(x, layer.weight, layer.bias, padding=1, algorithm="auto")
        assert torch.equal(layer(x), expected)


def test_three_products_of_tf32_by_name_are_for_a_gpu():
    x, weight = torch.randn(1, 2, 6, 6), torch.randn(4, 2, 3, 3)
    with pytest.raises(ValueError, match="three products of tf32, which is for a GPU"):
        L.conv2d(x, weight, algorithm="tf32x3")
    with pytest.raises(ValueError, match="one of auto, im2col, winograd, tf32x3, got"):
        L.conv2d(x, weight, algorithm="allow_tf32x3")


def test_the_switch_for_three_products_of_tf32_changes_nothing_on_a_cpu():
    x, weight = torch.randn(1, 64, 8, 8), torch.randn(64, 64, 3, 3)
    expected = L.conv2d(x, weight, padding=1)
    assert not layers.backends.tf32x3.enabled
    with layers.backends.tf32x3.flags(enabled=True):
        assert torch.equal(L.conv2d(x, weight, padding=1), expected)


@fake_cuda
def test_the_switch_for_three_products_of_tf32_allows_them_on_a_gpu():
    with FakeTensorMode():
        x = torch.empty(1, 64, 8, 8, device="cuda")
    for enabled, expected in ((False, "auto"), (True, "allow_tf32x3")):
        with layers.backends.tf32x3.flags(enabled):
            assert layers.conv._options(x, x)[1] == expected
            assert layers.conv._options(x, x, "im2col")[1] == "im2col"
