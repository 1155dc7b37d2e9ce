"""A network in numbers: a row for each call, and their sums."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from .flops import backward_macs, macs
from .notation import volume, weight_product, word
from .receptive_field import ReceptiveField, receptive_fields
from .walk import Call, walk


@dataclass(frozen=True)
class Row:
    """A call, for the batch that was asked for; None is unknown."""

    call: Call
    word: str  # "CONV3-64"
    volume: str  # "[224x224x64]", of one image
    weight_product: str  # "(3*3*3)*64", or "" if it is no product
    weights: int  # without biases, of parameters that no row before has
    parameters: int  # with biases
    macs: int | None  # multiply-adds of the forward pass
    backward_macs: int | None
    receptive_field: ReceptiveField | None
    in_evaluation: bool  # or only in training, as auxiliary heads

    @property
    def name(self) -> str:
        return self.call.name


@dataclass(frozen=True)
class Summary:
    name: str
    layers: str  # layer set: custom, torch, reference, or own
    shape: tuple[int, ...]  # of the images, (N, C, H, W)
    dtype: str
    parameters: int
    trained: int  # parameters that require a gradient
    rows: tuple[Row, ...]

    def total(self, what: str, rows: Sequence[Row] | None = None) -> int:
        """The sum of what is known in a column."""
        values = (getattr(row, what) for row in (self.rows if rows is None else rows))
        return sum(value for value in values if value is not None)

    @cached_property
    def evaluated(self) -> list[Row]:
        return [row for row in self.rows if row.in_evaluation]

    @property
    def unknown(self) -> list[str]:
        """The calls whose work is unknown: the sums are without them."""
        return [row.name for row in self.rows if row.macs is None]

    @property
    def activation_bytes(self) -> int:
        return sum(row.call.nbytes for row in self.rows)

    @property
    def saved_bytes(self) -> int:
        return sum(row.call.saved or 0 for row in self.rows)


def summarize(
    model: torch.nn.Module,
    shape: Sequence[int],
    *,
    name: str,
    layers: str,
    dtype: torch.dtype = torch.float32,
) -> Summary:
    """Walk over a network in training, and see which calls evaluation has, too.

    Args:
        shape: of the images, (N, C, H, W).
        name, layers: what the summary calls network and layer set.
        dtype: half precision is that of torch.autocast; else the network has it.
    Raises:
        Exception: what the network raises for such images.
    """
    training = model.training
    try:
        with autocast(dtype):
            calls = walk(model.train(), shape)
            evaluated = {call.name for call in walk(model.eval(), shape)}
    finally:
        model.train(training)
    parameters = dict(model.named_parameters())
    backward, fields = backward_macs(calls, parameters), receptive_fields(calls)
    by_name, seen, rows = {call.name: call for call in calls}, set[str](), []
    for call in calls:
        new = {key: parameters[key] for key in call.parameters if key not in seen}
        seen.update(new)
        product, weights = weight_product(call, new, by_name)
        rows.append(
            Row(
                call, word(call), volume(call.shape), product, weights,
                sum(parameter.numel() for parameter in new.values()),
                macs(call), backward[call.name], fields[call.name], call.name in evaluated,
            )
        )  # fmt: skip
    total = sum(parameter.numel() for parameter in parameters.values())
    trained = sum(p.numel() for p in parameters.values() if p.requires_grad)
    words = str(dtype).removeprefix("torch.")
    return Summary(name, layers, tuple(shape), words, total, trained, tuple(rows))


def autocast(dtype: torch.dtype) -> AbstractContextManager[Any]:
    return torch.autocast("cpu", dtype) if dtype.itemsize < 4 else nullcontext()


def document(summary: Summary) -> dict[str, Any]:
    """The summary for a program; docs/summarize.md lists the keys."""
    totals = {
        "parameters": summary.parameters,
        "trained_parameters": summary.trained,
        "inference_macs": summary.total("macs", summary.evaluated),
        "inference_flops": 2 * summary.total("macs", summary.evaluated),
        "forward_flops": 2 * summary.total("macs"),
        "backward_flops": 2 * summary.total("backward_macs"),
        "activation_bytes": summary.activation_bytes,
        "saved_bytes": summary.saved_bytes,
        "unknown": summary.unknown,
    }
    return {
        "name": summary.name,
        "layers": summary.layers,
        "shape": list(summary.shape),
        "dtype": summary.dtype,
        "totals": totals,
        "rows": [_row(row) for row in summary.rows],
    }


def _row(row: Row) -> dict[str, Any]:
    call, field = row.call, row.receptive_field
    doubled = (None if n is None else 2 * n for n in (row.macs, row.backward_macs))
    forward_flops, backward_flops = doubled
    return {
        "name": call.name,
        "op": call.op,
        "layer": row.word,
        "path": list(call.path),
        "inputs": list(call.inputs),
        "output_shape": None if call.shape is None else list(call.shape),
        "volume": row.volume,
        "weight_product": row.weight_product,
        "weights": row.weights,
        "parameters": row.parameters,
        "macs": row.macs,
        "flops": forward_flops,
        "backward_flops": backward_flops,
        "activation_bytes": call.nbytes,
        "saved_bytes": call.saved,
        "receptive_field": None if field is None else [*field.size],
        "stride": None if field is None else [*field.stride],
        "offset": None if field is None else [*field.offset],
        "in_evaluation": row.in_evaluation,
    }
