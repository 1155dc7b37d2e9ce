"""Winograd's algorithm: the same convolution to the last digit in float64, and 1e-5 in float32."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

import layers
import layers.functional as L
from layers.ops.geometry import Geometry
from layers.ops.registry import TABLE, choose
from tests import reference
from tests.cases import LAYOUTS, assert_same_step, doubles, table
from tests.kernels.calls import WINOGRAD

pytestmark = pytest.mark.skipif(not TABLE, reason="there are no kernels")

CASES = [case for case in WINOGRAD if case.image[0]]


def conv2d(x, weight, bias=None, **options):
    return L.conv2d(x, weight, bias, algorithm="winograd", **options)


@table(CASES)
def test_equals_the_definition(case):
    x, weight, bias = doubles(case.image, case.weight, case.filters, requires_grad=False)
    expected = reference.conv2d(x, weight, bias, **case.options)
    assert_close(conv2d(x, weight, bias, **case.options), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("layout", LAYOUTS)
@table(CASES)
def test_equals_torch_forward_and_backward(case, layout):
    x, weight = doubles(case.image, case.weight)
    ours, theirs = (f(layout(x), weight, **case.options) for f in (conv2d, F.conv2d))
    assert_same_step(ours, theirs, (x, weight), layout(torch.randn_like(theirs)))


@table(CASES)
def test_derivatives(case):
    x, weight = doubles(case.image, case.weight)

    def f(x, weight):
        return conv2d(x, weight, **case.options)

    many = weight.numel() > 500  # one random direction, not each
    assert gradcheck(f, (x, weight), check_forward_ad=True, fast_mode=many)
    assert gradgradcheck(f, (x, weight), fast_mode=True)


def test_error_in_float32():
    """Numbers of unit variance, 256 channels: at most 2e-5 of the largest output."""
    x, weight = torch.randn(2, 256, 28, 28), torch.randn(256, 256, 3, 3)
    g = torch.randn(2, 256, 28, 28)

    def errors(dtype, algorithm):
        a, b = (t.to(dtype).requires_grad_() for t in (x, weight))
        y = L.conv2d(a, b, padding=1, algorithm=algorithm)
        return y.detach(), *torch.autograd.grad(y, (a, b), g.to(dtype))

    exact, ours = errors(torch.float64, "im2col"), errors(torch.float32, "winograd")
    for a, b in zip(ours, exact, strict=True):
        assert (a - b).abs().max() <= 2e-5 * b.abs().max()


def taken(x, weight, **options):
    """The kernel that `algorithm="auto"` takes for tensors of these shapes; nothing is computed."""
    dtype = options.pop("dtype", torch.float32)
    x, weight = torch.empty(x, dtype=dtype), torch.empty(weight, dtype=dtype)
    pairs = {name: (value, value) if name != "groups" else value for name, value in options.items()}
    return choose("conv2d", [x, weight, Geometry(weight.shape[2:], **pairs), False, "auto"]).name


def test_what_auto_takes():
    vgg = (4, 256, 56, 56), (256, 256, 3, 3)
    assert taken(*vgg, padding=1) == "winograd"
    assert taken(*vgg, padding=1, dtype=torch.float64) == "im2col"
    assert taken(*vgg, padding=1, dtype=torch.bfloat16) == "im2col"
    assert taken(*vgg, padding=1, stride=2) == "im2col"
    assert taken(*vgg, padding=2, dilation=2) == "im2col"
    assert taken(*vgg, padding=3) == "im2col"
    assert taken((4, 256, 56, 56), (256, 64, 3, 3), padding=1, groups=4) == "im2col"
    assert taken((4, 256, 56, 56), (256, 256, 5, 5), padding=2) == "im2col"
    assert taken((4, 3, 224, 224), (64, 3, 3, 3), padding=1) == "im2col"
    assert taken((4, 256, 5, 5), (256, 256, 3, 3), padding=1) == "im2col"  # tiles mostly overhang


def test_auto_computes_what_it_says():
    x, weight = torch.randn(1, 64, 8, 8), torch.randn(64, 64, 3, 3)
    assert taken(x.shape, weight.shape, padding=1) == "winograd"
    automatic, winograd, im2col = (
        L.conv2d(x, weight, padding=1, algorithm=name) for name in ("auto", "winograd", "im2col")
    )
    assert torch.equal(automatic, winograd)
    assert not torch.equal(automatic, im2col)


def test_auto_can_be_kept_from_winograd(monkeypatch):
    x, weight = torch.randn(1, 64, 8, 8), torch.randn(64, 64, 3, 3)
    winograd = layers.backends.winograd
    im2col = L.conv2d(x, weight, padding=1, algorithm="im2col")
    with winograd.flags(enabled=False):
        assert torch.equal(L.conv2d(x, weight, padding=1), im2col)
        assert not torch.equal(conv2d(x, weight, padding=1), im2col)  # asked for by name
    assert winograd.enabled
    with pytest.raises(KeyError), winograd.flags(enabled=False):  # turned back after a failure
        raise KeyError
    monkeypatch.setattr(winograd, "enabled", False)
    assert torch.equal(L.conv2d(x, weight, padding=1), im2col)


def test_a_compiled_network_notices_that_the_switch_was_turned(monkeypatch):
    x, weight = torch.randn(1, 64, 8, 8), torch.randn(64, 64, 3, 3)
    winograd, im2col = (
        L.conv2d(x, weight, padding=1, algorithm=name) for name in ("winograd", "im2col")
    )

    def both(x):
        with layers.backends.winograd.flags(enabled=False):
            exact = L.conv2d(x, weight, padding=1)
        return exact, L.conv2d(x, weight, padding=1)

    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")
    for expected in (winograd, im2col):
        assert_close(compiled(x), (im2col, expected), rtol=0, atol=0)
        monkeypatch.setattr(layers.backends.winograd, "enabled", False)


def test_what_conv2d_says_of_nan_and_of_large_pixels():
    """Both come from pixels that an output does not see, added and subtracted again."""
    weight = torch.randn(64, 64, 3, 3)
    for place in range(3, 7):
        x = torch.ones(1, 64, 32, 32)
        x[0, 0, place, place] = torch.nan
        winograd, im2col = (
            L.conv2d(x, weight, padding=1, algorithm=name)[0, 0].isnan().sum()
            for name in ("winograd", "im2col")
        )
        assert im2col == 9
        assert 16 <= winograd <= 64
    x = torch.zeros(1, 64, 32, 32)
    x[0, 0, 5, 5] = 1e10
    for algorithm, least, most in (("winograd", 1e2, 1e5), ("im2col", 0, 0)):
        y = L.conv2d(x, weight, padding=1, algorithm=algorithm)
        y[..., 4:7, 4:7] = 0  # what sees the pixel
        assert least <= y.abs().max() <= most


@pytest.mark.parametrize("size", [(1, 5), (5, 1), (0, 5), (2, 2)], ids=str)
def test_an_image_too_small_is_refused_as_by_any_algorithm(size):
    x, weight = torch.randn(1, 2, *size), torch.randn(2, 2, 3, 3)
    for algorithm in ("winograd", "im2col", "auto"):
        with pytest.raises(RuntimeError, match=r"does not fit an image|must have pixels"):
            L.conv2d(x, weight, algorithm=algorithm)


@pytest.mark.parametrize("options", [{"stride": 2}, {"padding": 3}, {"dilation": 2}], ids=str)
def test_a_convolution_that_it_does_not_compute(options):
    with pytest.raises(ValueError, match="3x3 filters with stride 1, dilation 1 and padding up to"):
        conv2d(torch.randn(1, 2, 8, 8), torch.randn(2, 2, 3, 3), **options)


def test_without_the_kernel_it_is_refused():
    x, weight = torch.randn(1, 2, 8, 8), torch.randn(2, 2, 3, 3)
    with layers.reference(), pytest.raises(ValueError, match="no kernel computes this"):
        conv2d(x, weight)


def test_module_and_compiler():
    """`algorithm` is the one argument torch.nn.Conv2d does not have; the graph has one node."""
    layer = layers.Conv2d(2, 3, 3, padding=1, algorithm="winograd")
    twin = torch.nn.Conv2d(2, 3, 3, padding=1)
    twin.load_state_dict(layer.state_dict())
    x = torch.randn(2, 2, 6, 6)
    assert_close(layer(x), twin(x), rtol=1e-4, atol=1e-5)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=False)
    assert_close(compiled(x), layer(x))


def test_operators_are_registered_correctly():
    x, weight, g = torch.randn(2, 4, 6, 5), torch.randn(6, 2, 3, 3), torch.randn(2, 6, 6, 5)
    geometry = [3, 3, 1, 1, 1, 1, 1, 1, 2]
    for name, arguments in (
        ("conv2d", (x, weight, geometry)),
        ("conv2d_input", (weight, g, geometry, [6, 5])),
        ("conv2d_weight", (x, g, geometry)),
    ):
        operator = getattr(torch.ops.convnets, name).default
        options = False, "winograd", True
        tests = "test_schema", "test_faketensor"
        torch.library.opcheck(operator, (*arguments, *options), test_utils=tests)


def test_vmap_gives_gradients_per_sample():
    x, weight = doubles((3, 2, 6, 6), (4, 2, 3, 3), requires_grad=False)

    def loss(weight, image):
        return conv2d(image[None], weight, padding=1).pow(2).sum()

    together = torch.vmap(torch.func.grad(loss), (None, 0))(weight, x)
    assert_close(together, torch.stack([torch.func.grad(loss)(weight, image) for image in x]))


def test_flops_are_those_of_the_convolution():
    x, layer = torch.randn(2, 4, 6, 6), layers.Conv2d(4, 6, 3, algorithm="winograd")
    counts = []
    for module in (layer, torch.nn.Conv2d(4, 6, 3)):
        with FlopCounterMode(display=False) as counter:
            module(x).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


@pytest.mark.filterwarnings("ignore:.*")
def test_can_be_traced_for_tensorboard_s_graph():
    layer = layers.Conv2d(2, 3, 3, padding=1, algorithm="winograd")
    x = torch.randn(1, 2, 6, 6)
    assert_close(torch.jit.trace(layer, x, check_trace=False)(x), layer(x))


def test_exported_for_any_batch():
    layer = layers.Conv2d(4, 5, 3, padding=1, algorithm="winograd").requires_grad_(False)
    batch = torch.export.Dim("batch", min=2, max=1024)
    program = torch.export.export(layer, (torch.randn(3, 4, 8, 8),), dynamic_shapes=({0: batch},))
    larger = torch.randn(7, 4, 8, 8)
    assert_close(program.module()(larger), layer(larger))
