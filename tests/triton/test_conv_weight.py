"""The gradient of a convolution by its filters, in the interpreter, in one share and in several."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from layers.kernels.triton import conv_weight, implicit_gemm
from layers.ops.geometry import Geometry
from layers.ops.registry import OPERATORS
from tests.triton import products
from tests.triton.compiled import launches
from tests.triton.shapes import SHAPES
from tests.triton.test_table import by_triton

pytestmark = pytest.mark.interpreted

NAME = "conv2d_weight"


def operands(n, channels, filters, image, geometry, dtype=torch.float32):
    """Images, and an upstream gradient."""
    torch.manual_seed(0)
    shapes = (n, channels, *image), (n, filters, *geometry.output_size(image))
    return tuple(torch.randn(shape).to(dtype) for shape in shapes)


def assert_as_defined(x, g, geometry, channels_last=True):
    inputs = x, g, geometry, channels_last, "auto"
    return products.assert_as_defined(NAME, conv_weight.conv2d_weight, inputs)


def computed(x, g, geometry):
    inputs = x, g, geometry, True, "auto"
    return products.computed(NAME, conv_weight.conv2d_weight, inputs)


@pytest.fixture
def many_shares(monkeypatch):
    monkeypatch.setattr(conv_weight, "MIN_PIXELS", 1)


@pytest.mark.parametrize("geometry", products.GEOMETRIES.values(), ids=products.GEOMETRIES)
@pytest.mark.parametrize("n", [1, 33])
def test_batches(geometry, n, many_shares):
    assert_as_defined(*operands(n, 3, 5, (5, 6), geometry), geometry)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize(
    ("channels", "filters", "groups"),
    [
        (3, 70, 1),
        (70, 5, 1),
        (128, 2, 1),
        (2, 130, 1),
        (136, 4, 2),
        (260, 2, 2),
        (6, 9, 3),
        (32, 8, 2),
    ],
)
def test_channels(channels, filters, groups, channels_last, dtype):
    """In blocks within a tap and across taps, aligned and not."""
    geometry = Geometry((2, 2), (2, 1), groups=groups)
    x, g = operands(2, channels, filters, (4, 3), geometry, dtype)
    assert_as_defined(x, g, geometry, channels_last)


def test_strides_of_every_input():
    geometry = Geometry((2, 2))
    x, g = operands(2, 16, 16, (5, 5), geometry)
    x, g = (t.contiguous(memory_format=torch.channels_last) for t in (x, g))
    assert_as_defined(x[:, 1:9, 1:, 1:], g[:, 3:11, 1:, 1:], geometry)  # parts, not aligned
    assert_as_defined(x[:1].expand(x.shape), g[..., :1].expand(g.shape), geometry)
    x, g = (torch.stack([t, t], 4)[..., 0] for t in (x, g))
    assert_as_defined(x, g, geometry)


def test_an_empty_batch_gives_zeros():
    geometry = Geometry((2, 2))
    assert not computed(*operands(0, 3, 4, (3, 3), geometry), geometry).any()


def test_a_second_run_gives_the_same_bits(many_shares):
    geometry = Geometry((3, 3), padding=(1, 1))
    x, g = operands(33, 5, 6, (6, 7), geometry)
    assert torch.equal(computed(x, g, geometry), computed(x, g, geometry))


def test_calls_that_others_compute(as_on_gpu, monkeypatch):
    (kernel,) = by_triton()[NAME]
    plain = Geometry((3, 3))
    x, g = operands(1, 2, 4, (4, 4), plain)

    def why_not(geometry=plain, algorithm="auto", x=x, g=g):
        return kernel.supports(x, g, geometry, True, algorithm)

    assert why_not() is None
    assert "Winograd" in why_not(algorithm="winograd")
    assert "add up" in why_not(x=x[:, :0])
    assert "one channel" in why_not(Geometry((3, 3), groups=2))
    assert why_not(Geometry((1, 1), (2, 2))) is None
    assert "1x1" in why_not(Geometry((1, 1)))
    assert why_not(Geometry((1, 1)), "tf32x3") is None
    monkeypatch.setattr(implicit_gemm, "conv_precision", lambda: "ieee")
    assert "in ieee precision cuBLAS on columns is faster" in why_not()
    assert why_not(algorithm="tf32x3") is None
    assert why_not(algorithm="allow_tf32x3") is None
    assert why_not(x=x.half(), g=g.half()) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [s for s in SHAPES if s.operator == NAME], ids=lambda s: s.id)
def test_scratch_is_bounded(shape, dtype):
    """And the pixels of the shares are all pixels."""
    *inputs, weight = shape.arguments(dtype, channels_last=True)
    arguments = launches(conv_weight.conv2d_weight, *inputs, weight)[0].arguments
    parts, pixels, per_share = arguments[2:5]
    assert parts.numel() <= max(weight.numel(), conv_weight.PROGRAMS * 128 * 128)
    assert (len(parts) - 1) * per_share < pixels <= len(parts) * per_share


@settings(max_examples=40, deadline=None, derandomize=True)
@given(products.sizes(), st.sampled_from([1, 256]))
def test_any_layer_and_its_adjoint(layer, min_pixels):
    """<conv2d(x, w), g> = <w, conv2d_weight(x, g)>."""
    x, g = operands(*layer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv_weight, "MIN_PIXELS", min_pixels)
        weight_gradient = assert_as_defined(x, g, layer[-1]).double()
    weight = torch.randn(weight_gradient.shape, dtype=torch.float64)
    y = OPERATORS["conv2d"].definition(x.double(), weight, layer[-1], "auto")
    products.assert_same_form(weight_gradient * weight, y * g, y * g)
