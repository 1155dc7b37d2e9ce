"""Layers one at a time: forward and backward, ours and torch.nn's, in milliseconds and bytes.

Each side runs in both memory layouts, and the better one counts.  In bf16 the image is bfloat16, as
a layer before would hand it on, and the layer runs under autocast.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from .. import memory
from ..benchmark import LAYOUTS, build
from ..names import OURS, THEIRS
from ..peers import PEERS
from ..setting import laid_out
from ..shapes import Row
from ..timing import Side
from . import rows as protocol
from .clock import typical
from .operator_rows import NO_PRODUCT, ROWS
from .precision import FIRST_TO_LAST, autocast, float32_products, search

SECONDS = 0.06  # of timing, each side on a GPU


def rows(device: str, tiny: bool) -> list[protocol.Row]:
    shrunk = [row.small() if tiny else row for row in ROWS]
    return [
        (f"{row.id}/{p}", partial(measure, row, p, device))
        for precisions in ((("bf16",),) if tiny else (FIRST_TO_LAST[:2], FIRST_TO_LAST[2:]))
        for row in shrunk
        for p in precisions
        if p != "tf32" or row.layer not in NO_PRODUCT
    ]


def measure(row: Row, precision: str, device: str) -> dict[str, Any]:
    """Both sides, in both layouts, and the row's peers."""
    search(precision)
    ours, theirs = build_on(device, row)
    found = described(row, precision)
    for name, layout in LAYOUTS.items() if len(row.shape) == 4 else [("", None)]:
        for side, layer in ((OURS, ours), (THEIRS, theirs)):
            if layer is not None:
                add(found, f"{side} {name}".strip(), layer, row, precision, device, layout)
    for peer in row.peers:
        add(found, peer, partial(PEERS[peer], ours), row, precision, device)
    return found


def build_on(device: str, row: Row) -> tuple[torch.nn.Module, torch.nn.Module | None]:
    with torch.device(device):
        return build(row)


def described(row: Row, precision: str) -> dict[str, Any]:
    layer = f"{row} on {' x '.join(map(str, row.shape))}"
    return {"layer": layer, "id": row.id, "precision": precision, "ms": {}, "peak": {}}


def add(
    found: dict[str, Any],
    name: str,
    make: torch.nn.Module | Callable[..., Any],
    row: Row,
    precision: str,
    device: str,
    layout: torch.memory_format | None = None,
) -> None:
    """Time one side.

    Args:
        make: the layer, or what makes a `Side` of an image.
    """
    torch.manual_seed(0)
    x = torch.randn(row.shape, device=device)
    if precision == "bf16":
        x = x.bfloat16()
    if layout is not None:
        x = laid_out(x, layout)
    inputs = [x.requires_grad_()]
    if row.layer == "CrossEntropyLoss":
        inputs.append(torch.arange(len(x), device=device) % row.shape[1])
    if isinstance(make, torch.nn.Module) and layout is not None:
        for parameter in make.parameters():
            parameter.data = laid_out(parameter.data, layout)
    with float32_products(precision):
        with autocast(precision, device):
            side = Side(make, inputs) if isinstance(make, torch.nn.Module) else make(inputs[0])

        def run() -> None:
            with autocast(precision, device):
                y = side.forward()
            torch.autograd.grad(y, side.leaves, side.dy)

        found["ms"][name] = typical(run, device, SECONDS if device == "cuda" else 0.0)
        held = memory.bytes_of(side.leaves)
        found["peak"][name] = held + memory.peak(run, torch.device(device))
