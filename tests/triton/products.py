"""Operators that multiply, by one kernel each, against their definitions in float64."""

import torch
from hypothesis import strategies as st
from torch.testing import assert_close

from layers.ops.geometry import Geometry
from layers.ops.registry import OPERATORS
from tests.kernels.checks import TOLERANCES

GEOMETRIES = {
    "plain": Geometry((3, 3)),
    "stride-beyond-kernel": Geometry((2, 1), (3, 2), (1, 0)),
    "dilated": Geometry((3, 2), (1, 2), (2, 1), (2, 3)),
    "padding-beyond-kernel": Geometry((2, 2), (1, 2), (3, 2)),
}


def computed(name, kernel, inputs):
    """The output of an operator by a kernel, whose memory is NaN before."""
    output = OPERATORS[name].empty(*inputs).fill_(torch.nan)
    kernel(*inputs, output)
    return output


def assert_as_defined(name, kernel, inputs):
    output, operator = computed(name, kernel, inputs), OPERATORS[name]
    doubles = [v.double() if isinstance(v, torch.Tensor) else v for v in inputs]
    expected = operator.definition(*(doubles[at] for at in operator.takes))
    scale = max(expected.abs().max().item(), 1.0) if expected.numel() else 1.0
    tolerance = TOLERANCES[output.dtype] * scale
    assert_close(output.double(), expected, rtol=0, atol=tolerance, msg=f"{name}: {{}}".format)
    return output


def assert_same_form(left, right, terms):
    """Two sums of the same products, whose absolute values are given."""
    assert_close(left.sum(), right.sum(), rtol=0, atol=1e-5 * terms.abs().sum().item() + 1e-6)


@st.composite
def sizes(draw):
    """(images, channels, filters, image size, geometry) of a small layer."""

    def pair(least, most):
        return draw(st.tuples(*[st.integers(least, most)] * 2))

    groups = draw(st.integers(1, 2))
    geometry = Geometry(pair(1, 3), pair(1, 3), pair(0, 2), pair(1, 2), groups)
    room = [max(1, s - 2 * p) for s, p in zip(geometry.span, geometry.padding, strict=True)]
    image = tuple(draw(st.integers(size, size + 3)) for size in room)
    channels, filters = (groups * draw(st.integers(1, 3)) for _ in range(2))
    return draw(st.integers(1, 3)), channels, filters, image, geometry
