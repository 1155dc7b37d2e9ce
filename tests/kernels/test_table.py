"""Every kernel of the table, on every recorded call that it supports, against the definition.

Outputs and workspaces start as NaN, so that a value that is not written, or read before it is, is
found.
"""

import pytest
import torch
from torch.testing import assert_close

from layers.ops.registry import OPERATORS, TABLE, choose
from tests.cases import channels_last, contiguous, strided
from tests.kernels.calls import FUNCTIONS, recorded

pytestmark = pytest.mark.skipif(not TABLE, reason="there are no kernels")

LAYOUTS = [contiguous, channels_last, strided]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
TOLERANCES = {  # of the largest value: of results in this precision, added up in float32 or better
    torch.float32: 3e-6, torch.float64: 1e-13, torch.bfloat16: 1e-2, torch.float16: 2e-3
}  # fmt: skip
TOLERANCES_WINOGRAD = TOLERANCES | {torch.float32: 5e-5, torch.float64: 1e-12}


def kernels():
    return {(name, kernel.name) for name, row in TABLE.items() for kernel in row}


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


@torch.no_grad()
def check(calls):
    for call in calls:
        operator = OPERATORS[call.operator]
        exact = in_double(call)
        for kernel in TABLE.get(call.operator, ()):
            if kernel.supports(*call.inputs) is not None:
                continue
            for _ in range(2):  # the first time there may be no workspace yet
                outputs = operator.empty(*call.inputs)
                outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
                for output in outputs:
                    spoil(output)
                spoil_workspaces()
                kernel.compute(*call.inputs, *outputs)
            table = TOLERANCES_WINOGRAD if kernel.name == "winograd" else TOLERANCES
            for ours, expected in zip(outputs, exact, strict=True):
                message = f"{call.operator} by {kernel.name}: {{}}".format
                if not ours.is_floating_point():
                    assert torch.equal(ours, expected), message(ours)
                    continue
                assert not ours.isnan().any(), message(ours)
                scale = expected.abs().max().item() if expected.numel() else 0.0
                tolerance = table[call.inputs[0].dtype] * max(scale, 1e-3)
                assert_close(ours.double(), expected, rtol=0, atol=tolerance, msg=message)


def in_double(call):
    """What the definition makes of the same numbers in float64."""
    inputs = [
        value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
        for value in call.inputs
    ]
    operator = OPERATORS[call.operator]
    if "algorithm" in operator.types:
        inputs[-1] = "auto"
    results = operator.definition(*[inputs[at] for at in operator.takes])
    return [results] if isinstance(results, torch.Tensor) else list(results)


def spoil(tensor):
    """NaN, or the largest integers, in every element."""
    if tensor.is_floating_point():
        tensor.fill_(torch.nan)
    else:
        tensor.fill_(torch.iinfo(tensor.dtype).max)


def spoil_workspaces():
    from layers.kernels.openmp import thread_cache

    for memory in thread_cache().values():
        if isinstance(memory, torch.Tensor):
            memory.fill_(255)  # NaN in every precision


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
