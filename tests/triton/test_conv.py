"""Convolution as implicit GEMM, in the interpreter: every phase of the gradient by the image, loads
of both kinds, all layouts; and which calls are taken, in which precision.
"""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

import layers.functional as L
from layers.kernels.triton import conv
from layers.kernels.triton.implicit_gemm import configuration
from layers.kernels.triton.pixels import alignment
from layers.ops.geometry import Geometry
from layers.ops.registry import OPERATORS
from tests.cases import channels_last, contiguous, expanded, strided
from tests.kernels.checks import TOLERANCES
from tests.triton.compiled import launches

TF32 = torch.backends.cudnn.conv
LAYOUTS = [contiguous, channels_last, strided, expanded]
SQUARE = Geometry((3, 3), padding=(1, 1))


@pytest.fixture(autouse=True)
def _flag_as_before():
    before, TF32.fp32_precision = TF32.fp32_precision, "tf32"
    yield
    TF32.fp32_precision = before


def computed(operator, *inputs):
    """By Triton; no number of the output is there before."""
    kernel = {"conv2d": conv.conv2d, "conv2d_input": conv.conv2d_input}[operator]
    output = OPERATORS[operator].empty(*inputs).fill_(torch.nan)
    kernel(*inputs, output)
    return output


def check(x, weight, geometry, layout=contiguous, algorithm="auto"):
    """Both operators against torch's convolution in float64, and each other."""
    x, weight = layout(x), weight if layout is expanded else layout(weight)
    last = layout is channels_last
    y = computed("conv2d", x, weight, geometry, last, algorithm)
    options = geometry.stride, geometry.padding, geometry.dilation, geometry.groups
    expected = torch.nn.functional.conv2d(x.double(), weight.double(), None, *options)
    tolerance = TOLERANCES[x.dtype]
    assert_close(y.double(), expected, rtol=0, atol=tolerance * expected.abs().max().item())

    g = layout(torch.randn(y.shape).to(y.dtype))
    dx = computed("conv2d_input", weight, g, geometry, x.shape[2:], last, algorithm)
    expected = torch.nn.grad.conv2d_input(x.shape, weight.double(), g.double(), *options)
    assert_close(dx.double(), expected, rtol=0, atol=tolerance * max(1, expected.abs().max()))

    left, right = (g.double() * y.double()).sum(), (x.double() * dx.double()).sum()
    size = g.double().norm() * y.double().norm() + x.double().norm() * dx.double().norm()
    assert abs(left - right) <= tolerance * size


def images(n, channels, filters, size, geometry, dtype=torch.float32):
    x = torch.randn(n, channels, *size).to(dtype)
    return x, torch.randn(filters, channels // geometry.groups, *geometry.kernel_size).to(dtype)


@st.composite
def cases(draw):
    def pair(least, most):
        return tuple(draw(st.integers(least, most)) for _ in "hw")

    groups = draw(st.integers(1, 2))
    geometry = Geometry(pair(1, 4), pair(1, 5), pair(0, 3), pair(1, 4), groups)
    size = [
        draw(st.integers(max(1, span - 2 * padding), max(1, span - 2 * padding) + 6))
        for span, padding in zip(geometry.span, geometry.padding, strict=True)
    ]
    channels, filters = (groups * draw(st.sampled_from([2, 3, 8, 20])) for _ in "xy")
    return draw(st.integers(1, 2)), channels, filters, size, geometry


@pytest.mark.interpreted
@settings(max_examples=30, deadline=None, derandomize=True)
@given(cases(), st.sampled_from(LAYOUTS), st.sampled_from([torch.float32, torch.float16]))
def test_any_geometry(case, layout, dtype):
    check(*images(*case, dtype=dtype), case[-1], layout)


@pytest.mark.interpreted
@pytest.mark.parametrize("stride", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("dilation", [1, 2, 3, 4])
def test_every_phase(stride, dilation):
    """A stride below, at and above the kernel, with factors in common with the dilation or not."""
    for kernel, padding in itertools.product((1, 2, 3, 5), (0, 2)):
        geometry = Geometry((kernel, 2), (stride, 2), (padding, 1), (dilation, 1))
        size = max(1, geometry.span[0] - 2 * padding) + stride + 1, 6
        check(*images(1, 4, 3, size, geometry), geometry, channels_last)


@pytest.mark.interpreted
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("groups", [1, 2])
def test_more_than_a_block_in_every_direction(groups, layout):
    """Of pixels (128), of filters (64) and of k (32)."""
    geometry = Geometry((3, 3), (1, 1), (1, 1), (1, 1), groups)
    check(*images(3, 16 * groups, 70 * groups, (9, 7), geometry), geometry, layout)


@pytest.mark.interpreted
def test_pixels_that_no_window_sees_are_zero():
    geometry = Geometry((1, 1), (3, 2))
    dx = computed(
        "conv2d_input", torch.ones(2, 2, 1, 1), torch.ones(1, 2, 2, 3), geometry, (6, 6), False,
        "auto",
    )  # fmt: skip
    expected = torch.zeros(6, 6)
    expected[::3, ::2] = 2
    assert torch.equal(dx, expected.expand(1, 2, 6, 6))


@pytest.mark.interpreted
@pytest.mark.parametrize("geometry", [SQUARE, Geometry((1, 1))], ids=["3x3", "1x1"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_three_products_of_tf32(geometry, dtype):
    check(*images(2, 8, 4, (5, 6), geometry, dtype), geometry, algorithm="tf32x3")


@pytest.mark.interpreted
def test_an_empty_batch():
    x, weight = images(0, 4, 4, (5, 5), SQUARE)
    assert computed("conv2d", x, weight, SQUARE, False, "auto").shape == (0, 4, 5, 5)
    assert computed("conv2d_input", weight, x, SQUARE, (5, 5), False, "auto").shape == x.shape


def launched(images_, filters, geometry=SQUARE, algorithm="auto", dtype=torch.float32, last=True):
    """The options of both operators' launches."""
    layout = torch.channels_last if last else torch.contiguous_format
    x = torch.empty(images_, dtype=dtype, device="meta", memory_format=layout)
    weight = x.new_empty(filters, images_[1] // geometry.groups, *geometry.kernel_size)
    forward = x, weight, geometry, last, algorithm
    y = OPERATORS["conv2d"].empty(*forward)
    backward = weight, y, geometry, images_[2:], last, algorithm
    calls = (conv.conv2d, (*forward, y)), (conv.conv2d_input, (*backward, torch.empty_like(x)))
    return [launch.options for kernel, inputs in calls for launch in launches(kernel, *inputs)]


def test_configurations_do_not_depend_on_the_batch():
    for filters, last in itertools.product((3, 64, 256), (True, False)):
        alone, together = (launched((n, 64, 28, 28), filters, last=last) for n in (1, 256))
        assert alone == together


def test_there_are_few_configurations():
    dtypes = torch.float32, torch.float16, torch.bfloat16
    for dtype, digits in [(d, "tf32") for d in dtypes] + [(torch.float32, "tf32x3")]:
        found = [
            configuration(filters, align, dtype, digits)
            for filters in range(1, 600) for align in (1, 16 // dtype.itemsize)
        ]  # fmt: skip
        assert len({tuple(sorted(each.items())) for each in found}) <= 5


@pytest.mark.parametrize(
    ("name", "precision", "expected"),
    [
        ("auto", "tf32", "tf32"), ("tf32x3", "tf32", "tf32x3"), ("tf32x3", "ieee", "tf32x3"),
        ("allow_tf32x3", "tf32", "tf32"), ("allow_tf32x3", "ieee", "tf32x3"),
    ],
)  # fmt: skip
def test_precision(name, precision, expected):
    TF32.fp32_precision = precision
    found = launched((2, 64, 28, 28), 64, algorithm=name)
    assert [options["PRECISION"] for options in found] == [expected] * 2


def test_how_many_channels_a_load_takes():
    pixels = channels_last(torch.zeros(2, 24, 4, 4))
    filters = channels_last(torch.zeros(3, 24, 3, 3))

    def aligned(images, filters, channels):
        return min(alignment(images, channels), alignment(filters, channels))

    assert aligned(pixels, filters, 24) == 4
    assert aligned(pixels.half(), filters.half(), 24) == 8
    assert aligned(contiguous(torch.zeros(2, 24, 4, 4)), filters, 24) == 1
    assert aligned(pixels, filters, 6) == 1  # four groups
    assert aligned(pixels[:, 4:], filters[:, :20], 20) == 4
    assert aligned(pixels, channels_last(torch.zeros(3, 25, 3, 3))[:, :24], 24) == 1
    assert aligned(torch.zeros(2, 24, 1, 1), torch.zeros(3, 24, 1, 1), 24) == 4


REFUSED = {
    "Winograd": dict(algorithm="winograd"),
    "ieee precision": dict(precision="ieee"),
    "1x1 convolution": dict(geometry=Geometry((1, 1))),
    "one channel": dict(geometry=SQUARE._replace(groups=64)),
    "32 bits": dict(images=200_000),
    "float64": dict(dtype=torch.float64),
}
TAKEN = [
    dict(), dict(algorithm="im2col"), dict(geometry=Geometry((1, 1), (2, 2))),
    dict(geometry=Geometry((1, 1)), algorithm="tf32x3"),
    dict(geometry=Geometry((1, 1)), algorithm="allow_tf32x3", precision="ieee"),
    dict(precision="ieee", dtype=torch.float16), dict(precision="ieee", algorithm="tf32x3"),
]  # fmt: skip


def answers(geometry=SQUARE, algorithm="auto", precision="tf32", images=2, dtype=torch.float32):
    """What both operators say of 64 channels and 256 filters."""
    TF32.fp32_precision = precision
    x = torch.empty(images, 64, 8, 8, dtype=dtype, device="meta")
    weight = x.new_empty(256, 64 // geometry.groups, *geometry.kernel_size)
    g = x.new_empty(images, 256, *geometry.output_size((8, 8)))
    yield conv.CONV2D.supports(x, weight, geometry, True, algorithm)
    yield conv.CONV2D_INPUT.supports(weight, g, geometry, (8, 8), True, algorithm)


@pytest.mark.parametrize(("reason", "call"), REFUSED.items(), ids=REFUSED)
def test_refused(reason, call, as_on_gpu):
    assert all(reason in str(answer) for answer in answers(**call))


@pytest.mark.parametrize("call", TAKEN, ids=str)
def test_taken(call, as_on_gpu):
    assert not any(answers(**call))


@pytest.mark.interpreted
def test_tf32x3_by_name(as_on_gpu):
    x, weight = images(1, 8, 4, (5, 5), SQUARE)
    found = L.conv2d(x, weight, padding=1, algorithm="tf32x3")
    assert_close(found, torch.nn.functional.conv2d(x, weight, padding=1))
