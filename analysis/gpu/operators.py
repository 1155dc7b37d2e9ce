"""Times and memory of single layers, ours and torch.nn's, forward and backward.

Each side runs in both memory formats, and the better one counts.  In bf16 the input is bfloat16, as
the output of a preceding layer would be, and the layer runs under autocast.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from .. import memory
from ..baselines import BASELINES
from ..benchmark import MEMORY_FORMATS, build
from ..benchmark_config import to_memory_format
from ..names import OURS, THEIRS
from ..shapes import Row
from ..timing import TimedLayer
from . import rows as protocol
from .clock import median_milliseconds
from .operator_rows import NO_PRODUCT, ROWS
from .precision import PRECISION_ORDER, autocast, float32_products, set_cudnn_benchmark

SECONDS = 0.06  # of timing on a GPU, per side


def rows(device: str, tiny: bool) -> list[protocol.Row]:
    shrunk = [row.small() if tiny else row for row in ROWS]
    return [
        (f"{row.id}/{p}", partial(measure, row, p, device))
        for precisions in (
            (("bf16",),) if tiny else (PRECISION_ORDER[:2], (*PRECISION_ORDER[2:], "tf32x3"))
        )
        for row in shrunk
        for p in precisions
        if p in ("bf16", "ieee") or row.layer not in NO_PRODUCT
        if p != "tf32x3" or row.layer == "Conv2d"
    ]


def measure(row: Row, precision: str, device: str) -> dict[str, Any]:
    """Both sides, in both memory formats, and the row's baselines."""
    set_cudnn_benchmark(precision)
    ours, theirs = build_on(device, row)
    found = describe(row, precision)
    formats = MEMORY_FORMATS.items() if len(row.shape) == 4 else [("", None)]
    for name, memory_format in formats:
        for side, layer in ((OURS, ours), (THEIRS, theirs)):
            if layer is not None:
                key = f"{side} {name}".strip()
                measure_side(found, key, layer, row, precision, device, memory_format)
    for baseline in row.baselines:
        measure_side(found, baseline, partial(BASELINES[baseline], ours), row, precision, device)
    return found


def build_on(device: str, row: Row) -> tuple[torch.nn.Module, torch.nn.Module | None]:
    with torch.device(device):
        return build(row)


def describe(row: Row, precision: str) -> dict[str, Any]:
    layer = f"{row} on {' x '.join(map(str, row.shape))}"
    return {"layer": layer, "id": row.id, "precision": precision, "ms": {}, "peak": {}}


def measure_side(
    found: dict[str, Any],
    name: str,
    make: torch.nn.Module | Callable[..., Any],
    row: Row,
    precision: str,
    device: str,
    memory_format: torch.memory_format | None = None,
) -> None:
    """Measure one side and add its time and memory to `found`.

    Args:
        make: the layer, or a function from the input to a `TimedLayer`.
    """
    torch.manual_seed(0)
    x = torch.randn(row.shape, device=device)
    if precision == "bf16":
        x = x.bfloat16()
    if memory_format is not None:
        x = to_memory_format(x, memory_format)
    inputs = [x.requires_grad_()]
    if row.layer == "CrossEntropyLoss":
        inputs.append(torch.arange(len(x), device=device) % row.shape[1])
    if isinstance(make, torch.nn.Module) and memory_format is not None:
        for parameter in make.parameters():
            parameter.data = to_memory_format(parameter.data, memory_format)
    with float32_products(precision):
        with autocast(precision, device):
            side = (
                TimedLayer(make, inputs) if isinstance(make, torch.nn.Module) else make(inputs[0])
            )

        def run() -> None:
            with autocast(precision, device):
                y = side.forward()
            torch.autograd.grad(y, side.leaves, side.dy)

        found["ms"][name] = median_milliseconds(run, device, SECONDS if device == "cuda" else 0.0)
        held = memory.nbytes(side.leaves)
        found["peak"][name] = held + memory.peak(run, torch.device(device))
