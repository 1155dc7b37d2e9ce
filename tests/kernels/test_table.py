"""Every kernel of the table, on every recorded call that it supports, against the definition."""

import pytest
import torch

from layers.ops.registry import TABLE, choose
from tests.cases import channels_last, contiguous, strided
from tests.kernels.calls import FUNCTIONS, recorded
from tests.kernels.checks import check

pytestmark = pytest.mark.skipif(not TABLE, reason="there are no kernels")

LAYOUTS = [contiguous, channels_last, strided]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def kernels():
    """Those of a CPU; tests/triton/ has the others."""
    every = {(name, kernel.name) for name, row in TABLE.items() for kernel in row}
    return {pair for pair in every if pair[1] != "triton"}


each_function = pytest.mark.parametrize("function", FUNCTIONS, ids=[f.id for f in FUNCTIONS])


@each_function
@pytest.mark.parametrize("layout", LAYOUTS)
def test_equals_the_definition(function, layout):
    for dtype in DTYPES:
        check(recorded(function, layout, dtype))


@each_function
@pytest.mark.parametrize("layout", [contiguous, channels_last])
def test_equals_the_definition_on_threads_and_in_small_workspaces(function, layout, divided):
    check(recorded(function, layout, torch.float32))


@pytest.fixture(params=["threads", "workspaces"])
def divided(request, monkeypatch):
    """Work divided among two threads whatever its size, or into the smallest chunks."""
    import layers.kernels as package

    modules = [
        m for m in vars(package).values() if getattr(m, "__package__", "") == package.__name__
    ]
    if request.param == "threads":
        torch.set_num_threads(2)
    starts = ("MIN_PARALLEL_",) if request.param == "threads" else ("CPU_", "MIN_DIVIDED", "CHUNK")
    for module in modules:
        for name in vars(module):
            if name.startswith(starts) and isinstance(getattr(module, name), int):
                monkeypatch.setattr(module, name, 0 if request.param == "threads" else 1)


def test_every_kernel_is_chosen_by_a_call():
    """On a CPU, or on a device that is none."""
    chosen = set()
    for function in FUNCTIONS:
        for layout in (contiguous, channels_last):
            for dtype in (torch.float32, torch.bfloat16):
                for call in recorded(function, layout, dtype):
                    elsewhere = choose(call.operator, on_meta(call.inputs))
                    chosen |= {(call.operator, k.name) for k in (call.kernel, elsewhere) if k}
    assert chosen == kernels()


def on_meta(inputs):
    """The same layouts on a device that is no CPU."""
    return [
        torch.empty_strided(v.shape, v.stride(), dtype=v.dtype, device="meta")
        if isinstance(v, torch.Tensor) else v
        for v in inputs
    ]  # fmt: skip


def test_a_supported_call_is_refused_by_nobody_else():
    """Kernels that are preferred to the one taken give their reasons."""
    for function in FUNCTIONS[::7]:
        for call in recorded(function, contiguous, torch.float32):
            row = TABLE.get(call.operator, ())
            before = row[: row.index(call.kernel)] if call.kernel else row
            assert list(call.refused) == [kernel.name for kernel in before]
            assert not {"", "None"} & {*call.refused.values()}
