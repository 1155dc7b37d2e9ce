"""A kernel against its operator's definition.

Outputs and workspaces start as NaN, so that a value that is not written, or read before it is, is
found.
"""

import torch
from torch.testing import assert_close

from layers.ops.registry import OPERATORS, TABLE

TOLERANCES = {  # of the largest value: of results in this precision, added up in float32 or better
    torch.float32: 3e-6, torch.float64: 1e-13, torch.bfloat16: 1e-2, torch.float16: 2e-3
}  # fmt: skip
TOLERANCES_WINOGRAD = TOLERANCES | {torch.float32: 5e-5, torch.float64: 1e-12}


@torch.no_grad()
def check(calls):
    """Returns the kernels that were checked, by (operator, kernel)."""
    checked = set()
    for call in calls:
        operator = OPERATORS[call.operator]
        exact = in_double(call)
        for kernel in TABLE.get(call.operator, ()):
            if kernel.supports(*call.inputs) is not None:
                continue
            checked.add((call.operator, kernel.name))
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
    return checked


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
