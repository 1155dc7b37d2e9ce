"""Kernels on fake tensors allocate, compute nothing, and leave nothing to later calls."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from layers.interop.dry_run import dry_cache, dry_run, few
from layers.ops.registry import OPERATORS, TABLE, choose
from tests.cases import channels_last, contiguous
from tests.kernels.calls import FUNCTIONS, recorded

pytestmark = pytest.mark.skipif(not TABLE, reason="there are no kernels")


@pytest.mark.parametrize("layout", [contiguous, channels_last])
@pytest.mark.parametrize("function", FUNCTIONS, ids=[f.id for f in FUNCTIONS])
def test_every_kernel_runs_and_keeps_nothing(function, layout):
    from layers.kernels.openmp import thread_cache

    for call in recorded(function, layout, torch.float32):
        kernel = choose(call.operator, [*call.inputs])
        if kernel is None or call.operator.startswith(("batch_norm", "local_response_norm")):
            continue  # the norms' loops are not dry: analysis/live_storages.py
        kept, dry = {**thread_cache()}, {}
        with FakeTensorMode(allow_non_fake_inputs=True) as mode, dry_run(dry):
            inputs = [mode.from_tensor(v) if torch.is_tensor(v) else v for v in call.inputs]
            outputs = OPERATORS[call.operator].empty(*inputs)
            kernel.compute(*inputs, *(outputs if isinstance(outputs, tuple) else [outputs]))
        assert all(isinstance(memory, FakeTensor) for memory in dry.values())
        assert thread_cache().keys() == kept.keys()
        assert all(thread_cache()[name] is memory for name, memory in kept.items())


def test_two_parts_are_enough_in_a_dry_run_alone():
    assert few(range(5)) == range(5)
    with dry_run({}):
        assert few(range(5)) == range(2)
        assert dry_cache() == {}
    assert dry_cache() is None
