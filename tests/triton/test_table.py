"""Every Triton kernel, in the interpreter, on every recorded call against the definition."""

import pytest
import torch

from layers.ops.registry import TABLE
from tests.cases import channels_last, contiguous, strided
from tests.kernels.calls import FUNCTIONS, recorded
from tests.kernels.checks import check

pytestmark = pytest.mark.interpreted

CASES = [function for function in FUNCTIONS if not function.id.startswith("winograd")]
KINDS = [
    (contiguous, torch.float32), (channels_last, torch.float32), (strided, torch.float32),
    (channels_last, torch.bfloat16), (contiguous, torch.float16),
]  # fmt: skip


def kinds_of(number, name):
    """Some of all, in turn; of pooling, which takes most of the time, fewer: test_pool.py sees to
    formats and to what is not unrolled."""
    if "pool2d" not in name:
        return [*KINDS[:2], KINDS[2 + number % 3]]
    if "-wide" in name:
        return []
    if "-jvp" in name:
        return [KINDS[number % 2]]
    return [KINDS[number // 2 % 2], KINDS[2 + number % 3]]


TOGETHER = [
    (function, kind)
    for number, function in enumerate(CASES) for kind in kinds_of(number, function.id)
]  # fmt: skip
PRODUCTS = "conv2d", "locally_connected2d"  # of bfloat16 the interpreter computes them wrongly


def by_triton():
    """The rows of the table, with the kernels of that folder alone."""
    return {
        name: tuple(kernel for kernel in row if kernel.name.startswith("triton"))
        for name, row in TABLE.items()
    }


def calls_of(function, layout, dtype):
    """What a function asks of the operators; computed by the definitions."""
    with pytest.MonkeyPatch.context() as on_cpu:
        for name in TABLE:
            on_cpu.setitem(TABLE, name, ())
        return recorded(function, layout, dtype)


@pytest.mark.parametrize(
    ("function", "kind"), TOGETHER,
    ids=[f"{function.id}-{layout.__name__}-{dtype}" for function, (layout, dtype) in TOGETHER],
)  # fmt: skip
def test_equals_the_definition(function, kind, as_on_gpu, monkeypatch):
    layout, dtype = kind
    calls = calls_of(function, layout, dtype)
    if dtype == torch.bfloat16:
        calls = [call for call in calls if not call.operator.startswith(PRODUCTS)]
    for name, row in by_triton().items():
        monkeypatch.setitem(TABLE, name, row)
    check(calls)


def test_every_kernel_is_checked(as_on_gpu):
    rows, supported = by_triton(), set()
    for function in CASES[::3]:
        for call in calls_of(function, contiguous, torch.float32):
            supported |= {
                (call.operator, kernel.name)
                for kernel in rows[call.operator] if kernel.supports(*call.inputs) is None
            }  # fmt: skip
    assert supported == {(name, kernel.name) for name, row in rows.items() for kernel in row}
