"""Some layers in plain torch under torch.compile, to show what fused kernels would reach."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

import layers

from .. import baselines
from ..shapes import Row
from . import rows as protocol
from .operator_rows import COMPILED, ROWS
from .operators import build_on, describe, measure_side


def rows(device: str, tiny: bool) -> list[protocol.Row]:
    by_name = {row.id: row.small() if tiny else row for row in ROWS}
    return [
        (f"{name}/{p}", partial(measure, by_name[name], p, device))
        for p in (("bf16",) if tiny else ("ieee", "bf16"))
        for name in COMPILED
    ]


def measure(row: Row, precision: str, device: str) -> dict[str, Any]:
    ours, theirs = build_on(device, row)
    plain: torch.nn.Module | None = theirs
    if isinstance(ours, layers.LocallyConnected2d):
        plain = baselines.UnfoldMultiplySum(ours)
    elif isinstance(ours, layers.LocalResponseNorm):
        plain = PlainResponseNorm(ours)
    backend = "inductor" if device == "cuda" else "aot_eager"  # faster to compile
    found = describe(row, precision)
    layer = torch.compile(plain, dynamic=False, backend=backend)
    measure_side(found, "compiled", layer, row, precision, device, torch.contiguous_format)
    return found


class PlainResponseNorm(torch.nn.Module):
    """Local response normalisation as in its equation, to be fused by a compiler."""

    def __init__(self, layer: torch.nn.LocalResponseNorm) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = layer.size, layer.alpha, layer.beta, layer.k

    def forward(self, x: Tensor) -> Tensor:
        before, after = self.size // 2, (self.size - 1) // 2
        squares = torch.nn.functional.pad(x * x, (0, 0, 0, 0, before, after))
        window = sum(squares[:, i : i + x.shape[1]] for i in range(self.size))
        return x * (self.k + self.alpha / self.size * window) ** -self.beta
