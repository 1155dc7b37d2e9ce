"""What kernels become on a GPU of Ampere (sm_80) and of Hopper (sm_90): no registers are spilled,
products are matrix instructions, adjacent values are loaded 16 bytes at a time.
"""

from itertools import product

import pytest
import torch

from layers.ops.registry import TABLE
from tests.triton.compiled import compile_for, launches
from tests.triton.shapes import SHAPES

pytestmark = pytest.mark.compiled

KERNELS = {
    (name, kernel.name): kernel
    for name, row in TABLE.items() for kernel in row if kernel.name.startswith("triton")
}  # fmt: skip


COMPILED = [
    ("contiguous", torch.float32, 90),
    ("channels_last", torch.bfloat16, 90),
    ("channels_last", torch.float32, 80),
]
OTHERS = [
    pytest.param(*kind, marks=pytest.mark.slow)
    for kind in product(("contiguous", "channels_last"), (torch.float32, torch.bfloat16), (80, 90))
    if kind not in COMPILED
]


@pytest.mark.parametrize(("layout", "dtype", "capability"), [*COMPILED, *OTHERS])
@pytest.mark.parametrize("shape", SHAPES, ids=[f"{s.operator}-{s.id}" for s in SHAPES])
def test_machine_code(shape, layout, dtype, capability):
    arguments = shape.arguments(dtype, layout == "channels_last")
    kernels = [kernel for (operator, _), kernel in KERNELS.items() if operator == shape.operator]
    assert kernels
    for kernel in kernels:
        found = [compile_for(each, capability) for each in launches(kernel.compute, *arguments)]
        assert found
        assert not any(machine.spilled for machine in found), found
        if layout in shape.wide:
            assert any(machine.wide for machine in found), found
        if shape.matrix:
            assert any(machine.matrix for machine in found), found


LOCAL = [shape for shape in SHAPES if shape.operator.startswith("locally")]


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("shape", LOCAL, ids=[f"{s.operator}-{s.id}" for s in LOCAL])
def test_the_locally_connected_layer_in_ieee(shape, capability, monkeypatch):
    """Its products in float32 take no matrix instructions, and many registers."""
    kernel = KERNELS[shape.operator, "triton"]
    monkeypatch.setattr("layers.kernels.triton.locally_connected.conv_precision", lambda: "ieee")
    for launch in launches(kernel.compute, *shape.arguments(torch.float32, channels_last=True)):
        assert launch.options["PRECISION"] == "ieee"
        assert not compile_for(launch, capability).spilled


def test_every_kernel_is_compiled():
    assert {operator for operator, _ in KERNELS} == {shape.operator for shape in SHAPES}
