"""The locally connected layer's kernels, in the interpreter, over geometries and batches."""

import pytest
import torch
from hypothesis import given, settings

from layers.kernels.triton import locally_connected
from layers.ops.geometry import Geometry
from layers.ops.registry import record
from tests.triton import products
from tests.triton.test_table import by_triton

pytestmark = pytest.mark.interpreted


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
    return products.computed(name, getattr(locally_connected, name), inputs)


def assert_as_defined(inputs):
    return [
        products.assert_as_defined(name, getattr(locally_connected, name), arguments).double()
        for name, arguments in inputs.items()
    ]


@pytest.mark.parametrize("geometry", products.GEOMETRIES.values(), ids=products.GEOMETRIES)
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


@settings(max_examples=25, deadline=None, derandomize=True)
@given(products.sizes())
def test_any_layer_and_its_adjoints(layer):
    """<y, g> = <x, x'> = <w, w'>: the form is linear in each of the three."""
    x, w, g = operands(*layer)
    y, x_gradient, w_gradient = assert_as_defined(inputs_of(x, w, g, layer[-1]))
    products.assert_same_form(x_gradient * x, y * g, y * g)
    products.assert_same_form(w_gradient * w, y * g, y * g)
