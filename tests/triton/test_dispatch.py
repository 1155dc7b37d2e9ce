"""Triton kernels where torch's tools meet them: the compiler, the exporter, vmap and gradients.

In the interpreter, on the tensors of a CPU.
"""

import pytest
import torch
from torch.testing import assert_close

import layers
import layers.functional as L
from layers.ops.registry import TABLE, record
from tests.cases import channels_last, contiguous

pytestmark = pytest.mark.interpreted

IMAGES = (2, 6, 9, 8)
FUNCTIONS = {
    "max_pool2d": lambda x: L.max_pool2d(x, 3, 2, 1),
    "avg_pool2d": lambda x: L.avg_pool2d(x, 3, 2, 1),
    "lp_pool2d": lambda x: L.lp_pool2d(x, 2, 3, 2),
    "local_response_norm": lambda x: L.local_response_norm(x, 5, 0.1, 0.75, 2.0),
    "batch_norm": lambda x: L.batch_norm(x, None, None, training=True),
    "conv2d": lambda x: L.conv2d(x, WEIGHT, stride=2, padding=1),
    "locally_connected2d": lambda x: L.locally_connected2d(x, LOCAL, None, 3, 2),
}
WEIGHT = torch.linspace(-1, 1, 4 * 6 * 9).view(4, 6, 3, 3)
LOCAL = torch.linspace(-1, 1, 4 * 3 * 54 * 5).view(4, 3, 1, 54, 5)


@pytest.fixture(autouse=True)
def with_triton(as_on_gpu):
    """Products in tf32, which Triton computes; the interpreter computes them in float32."""
    conv = torch.backends.cudnn.conv
    before, conv.fp32_precision = conv.fp32_precision, "tf32"
    yield
    conv.fp32_precision = before


each_function = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
each_layout = pytest.mark.parametrize("layout", [contiguous, channels_last])


def step(function, x):
    x = x.detach().requires_grad_()
    y = function(x)
    return y, *torch.autograd.grad(y.square().sum(), x)


@each_function
@each_layout
def test_gradients_are_the_definition_s(function, layout):
    x = layout(torch.randn(IMAGES))
    with record() as calls:
        ours = step(function, x)
    assert {call.kernel.name.split("_")[0] for call in calls} == {"triton"}
    with layers.reference():
        expected = step(function, x)
    for a, b in zip(ours, expected, strict=True):
        assert_close(a, b, rtol=1e-5, atol=1e-5)
        assert a.stride() == b.stride()


@each_function
@each_layout
def test_compiled_in_one_graph(function, layout):
    x = layout(torch.randn(IMAGES))
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for ours, eager in zip(step(compiled, x), step(function, x), strict=True):
        assert_close(ours, eager)


@each_function
def test_vmap_is_a_loop(function):
    if function is FUNCTIONS["batch_norm"]:
        pytest.skip("statistics are per example: see tests/layers")
    x = torch.randn(3, *IMAGES)
    assert_close(torch.vmap(function)(x), torch.stack([function(each) for each in x]))


@each_function
def test_exported(function):
    class Network(torch.nn.Module):
        def forward(self, x):
            return function(x)

    x = torch.randn(IMAGES)
    program = torch.export.export(Network(), (x,))
    assert_close(program.module()(x), function(x))


@each_function
def test_registered_operators_keep_torch_s_rules(function):
    """Schema, fake outputs and their strides, as torch.library.opcheck sees them."""
    with record() as calls:
        step(function, channels_last(torch.randn(IMAGES)))
    for call in calls:
        flat = [value.flatten() if hasattr(value, "groups") else value for value in call.inputs]
        operator = getattr(torch.ops.convnets, call.operator).default
        torch.library.opcheck(
            operator, (*flat, True), test_utils=("test_schema", "test_faketensor")
        )


def test_the_table_prefers_them():
    for row in TABLE.values():
        triton = [kernel.name.startswith("triton") for kernel in row]
        assert triton == sorted(triton, reverse=True)
