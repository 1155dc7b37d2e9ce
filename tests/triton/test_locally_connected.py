"""The locally connected layer's kernels, in the interpreter, over geometries and batches."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from layers.kernels.triton import locally_connected
from layers.ops.geometry import Geometry
from layers.ops.registry import OPERATORS, record
from tests.kernels.checks import TOLERANCES
from tests.triton.test_table import by_triton

pytestmark = pytest.mark.interpreted

GEOMETRIES = {
    "plain": Geometry((3, 3)),
    "stride-beyond-kernel": Geometry((2, 1), (3, 2), (1, 0)),
    "dilated": Geometry((3, 2), (1, 2), (2, 1), (2, 3)),
    "padding-beyond-kernel": Geometry((2, 2), (1, 2), (3, 2)),
}


def operands(n, channels, filters, image, geometry, dtype=torch.float32):
    """Images, weights, an upstream gradient."""
    size, groups = geometry.output_size(image), geometry.groups
    terms = channels // groups * geometry.kernel_size[0] * geometry.kernel_size[1]
    shapes = (
        (n, channels, *image), (*size, groups, terms, filters // groups), (n, filters, *size),
    )  # fmt: skip
    torch.manual_seed(0)
    return tuple(torch.randn(shape).to(dtype) for shape in shapes)


def inputs_of(x, w, g, geometry, channels_last=True):
    return {
        "locally_connected2d": (x, w, geometry, channels_last),
        "locally_connected2d_input": (w, g, geometry, tuple(x.shape[2:]), channels_last),
        "locally_connected2d_weight": (x, g, geometry, channels_last),
    }


def computed(name, inputs):
    output = OPERATORS[name].empty(*inputs).fill_(torch.nan)
    getattr(locally_connected, name)(*inputs, output)
    return output


def assert_as_defined(inputs):
    for name, arguments in inputs.items():
        output, operator = computed(name, arguments), OPERATORS[name]
        doubles = [v.double() if isinstance(v, torch.Tensor) else v for v in arguments]
        expected = operator.definition(*(doubles[at] for at in operator.takes))
        scale = max(expected.abs().max().item(), 1.0) if expected.numel() else 1.0
        tolerance = TOLERANCES[output.dtype] * scale
        assert_close(output.double(), expected, rtol=0, atol=tolerance, msg=f"{name}: {{}}".format)


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
@pytest.mark.parametrize("n", [1, 33])
def test_batches(geometry, n):
    x, w, g = operands(n, 3, 5, (5, 6), geometry)
    assert_as_defined(inputs_of(x, w, g, geometry))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize(("channels", "filters", "groups"), [(70, 4, 1), (2, 70, 1), (6, 9, 3)])
def test_channels(channels, filters, groups, dtype):
    geometry = Geometry((2, 2), (2, 1), groups=groups)
    x, w, g = operands(2, channels, filters, (4, 3), geometry, dtype)
    assert_as_defined(inputs_of(x, w, g, geometry, channels_last=False))


def test_strides_of_every_input():
    geometry = Geometry((2, 2))
    x, w, g = operands(2, 4, 4, (3, 4), geometry)
    w = w.transpose(3, 4).contiguous().transpose(3, 4)
    x, g = (torch.stack([t, t], 4)[..., 0] for t in (x, g))
    assert_as_defined(inputs_of(x, w[:, :1].expand(w.shape), g, geometry))
    x = x.movedim(1, 3).contiguous().movedim(3, 1)[:, :, 1:, 1:]  # a part, channels adjacent
    w, g = w[:1, :2], g[:, :, :1, :2]
    assert_as_defined(inputs_of(x, w, g, geometry))


def test_an_empty_batch_gives_weights_of_zero():
    geometry = Geometry((2, 2))
    inputs = inputs_of(*operands(0, 3, 4, (3, 3), geometry), geometry)
    assert not computed("locally_connected2d_weight", inputs["locally_connected2d_weight"]).any()
    assert computed("locally_connected2d", inputs["locally_connected2d"]).shape == (0, 4, 2, 2)


def test_a_second_run_gives_the_same_bits():
    geometry = Geometry((3, 3), padding=(1, 1))
    for name, inputs in inputs_of(*operands(33, 5, 6, (4, 4), geometry), geometry).items():
        assert torch.equal(computed(name, inputs), computed(name, inputs)), name


def test_no_channels_are_left_to_the_definition(as_on_gpu):
    geometry = Geometry((2, 2))
    x, w, _ = operands(1, 0, 4, (3, 3), geometry)
    (kernel,) = by_triton()["locally_connected2d"]
    assert kernel.supports(x, w, geometry, True) == "there is nothing to add up"


def test_the_layer_asks_for_them(as_on_gpu):
    geometry = Geometry((2, 2))
    x, w, _ = operands(2, 3, 4, (3, 3), geometry)
    with record() as calls:
        torch.ops.convnets.locally_connected2d(x, w, geometry.flatten(), True, True)
    assert [call.kernel.name for call in calls] == ["triton"]


@st.composite
def layers(draw):
    def pair(least, most):
        return draw(st.tuples(*[st.integers(least, most)] * 2))

    groups = draw(st.integers(1, 2))
    geometry = Geometry(pair(1, 3), pair(1, 3), pair(0, 2), pair(1, 2), groups)
    room = [max(1, s - 2 * p) for s, p in zip(geometry.span, geometry.padding, strict=True)]
    image = tuple(draw(st.integers(size, size + 3)) for size in room)
    channels, filters = (groups * draw(st.integers(1, 3)) for _ in range(2))
    return draw(st.integers(1, 3)), channels, filters, image, geometry


@settings(max_examples=25, deadline=None, derandomize=True)
@given(layers())
def test_any_layer_and_its_adjoints(layer):
    """<y, g> = <x, x'> = <w, w'>: the form is linear in each of the three."""
    geometry = layer[-1]
    x, w, g = operands(*layer)
    inputs = inputs_of(x, w, g, geometry)
    assert_as_defined(inputs)
    y, x_gradient, w_gradient = (computed(name, each).double() for name, each in inputs.items())
    form = (y * g).sum()
    tolerance = 1e-5 * (y * g).abs().sum().item() + 1e-6
    assert_close((x_gradient * x).sum(), form, rtol=0, atol=tolerance)
    assert_close((w_gradient * w).sum(), form, rtol=0, atol=tolerance)
