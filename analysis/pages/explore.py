"""A network that one can click through, on some images: one HTML file of at most 5 MB.

The page has the activations and the weights as numbers, and computes a unit from them when it is
clicked; for networks that are too large for that, of a choice of maps.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

import models

from ..receptive_field import ReceptiveField, receptive_fields
from ..walk import INPUT, Call
from .chosen_maps import choose
from .layer_kinds import MINUS, TIMES, Kind, kind_of
from .page import render
from .sprites import PALETTE, picture, sprite
from .values import Values, values

MAX_BYTES = 5_000_000  # of a page
DERIVED = ("relu", "same", "flatten")  # computed by the page, if it has all of the input
TOP = 5  # classes


class Plan(NamedTuple):
    """How much of a network a page shows."""

    numbers: int  # maps of a layer, with their numbers and weights
    drawn: int  # maps of a layer, as pictures
    pixels: int  # of a picture's side


ALL = 10**9
PLANS = [
    Plan(ALL, ALL, 96), Plan(ALL, 64, 48), Plan(64, 64, 48), Plan(32, 32, 48), Plan(16, 16, 48),
    Plan(8, 16, 48), Plan(4, 16, 48), Plan(2, 16, 40), Plan(1, 8, 32), Plan(1, 2, 24),
]  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """An image, and what is known of it."""

    name: str
    pixels: Tensor  # (C, H, W) in [0, 1]
    truth: int | None = None  # its class


def explore(
    title: str,
    model: torch.nn.Module,
    pictures: Sequence[Picture],
    x: Tensor,
    classes: Sequence[str],
    origin: str = "",
) -> str:
    """The page, as HTML.

    Args:
        model: in evaluation mode.
        x: the images as the network sees them, (N, C, H, W), on its device.
        classes: by their numbers.
        origin: of the weights, in a line.
    Raises:
        ValueError: a network of so many layers that not even two maps of each fit a page.
    """
    seen, output = values(model, x)
    seen = _on_cpu(seen)
    probabilities = models.logits(output).detach().float().cpu().softmax(1)
    parameters = {name: p.numel() for name, p in model.named_parameters()}
    kinds = {call.name: _kind(call, seen) for call in seen.calls}
    images = [_image(p, row, classes) for p, row in zip(pictures, probabilities, strict=True)]
    facts = {"title": title, "origin": origin, "parameters": sum(parameters.values())}
    for plan in PLANS:
        page = _Page(seen, kinds, parameters, plan)
        if page.estimate() > MAX_BYTES:
            continue
        data = {"images": images, "layers": page.layers(), "palette": PALETTE}
        text = render(
            "explore.html.j2", **facts, plan=plan, is_whole=plan.numbers == ALL, data=data
        )
        if len(text) <= MAX_BYTES:
            return text
    raise ValueError(
        f"a page of {MAX_BYTES // 10**6} MB has no room for the {len(seen.calls):,} layers of this "
        "network: use a shallower one, or fewer images"
    )


class _Page:
    """The layers of a network, as a plan has them."""

    def __init__(
        self, seen: Values, kinds: Mapping[str, Kind], parameters: Mapping[str, int], plan: Plan
    ) -> None:
        self.seen, self.kinds, self.parameters, self.plan = seen, kinds, parameters, plan
        self.fields = receptive_fields(seen.calls)
        self.calls = [call for call in seen.calls if call.name in seen.outputs]
        self.order = {name: i for i, name in enumerate([INPUT, *(c.name for c in self.calls)])}
        most = max(plan.numbers, plan.drawn)
        ranked = choose(self.calls, kinds, seen.outputs, most)
        whole = {name: [*range(x.shape[1])] for name, x in seen.outputs.items() if x.dim() > 1}
        self.drawn = {
            name: maps if plan.drawn < len(whole[name]) else whole[name]
            for name, maps in ((name, maps[: plan.drawn]) for name, maps in ranked.items())
        }
        self.with_numbers = {
            name: whole[name] if plan.numbers >= len(whole[name]) else maps[: plan.numbers]
            for name, maps in ranked.items()
        }
        self.drawn[INPUT] = self.with_numbers[INPUT] = whole[INPUT]

    def estimate(self) -> float:
        """Bytes of the numbers, in base64; pictures come on top."""
        total = 0
        for call in self.calls:
            if not self.is_derived(call):
                total += self.numbers_of(call.name).numel()
            total += sum(t.numel() for t in self.arrays(call).values())
        return total * 4 * 4 / 3

    def is_derived(self, call: Call) -> bool:
        kind = self.kinds[call.name].kind
        has_all = all(self.has_all(name) for name in call.inputs)
        return kind in DERIVED and (has_all or kind != "flatten")

    def has_all(self, name: str) -> bool:
        x = self.seen.outputs.get(name)
        return x is not None and (x.dim() == 2 or len(self.with_numbers[name]) == x.shape[1])

    def numbers_of(self, name: str) -> Tensor:
        """The activations that the page has: all of a vector, else of a choice of maps."""
        x = self.seen.outputs[name]
        return x if x.dim() == 2 or self.has_all(name) else x[:, self.with_numbers[name]]

    def arrays(self, call: Call) -> dict[str, Tensor]:
        """Weights and the like, for the maps that have numbers."""
        kind, maps = self.kinds[call.name], self.with_numbers.get(call.name, [])
        if kind.kind == "local" and not self.has_all(call.name):
            return {}  # each position has its own
        arrays = kind.arrays
        if len(maps) < (call.shape or (0, 0))[1]:
            arrays = {name: t[maps] for name, t in arrays.items()}
        columns = self.columns(call)
        if columns is not None:
            arrays = {**arrays, "weight": arrays["weight"][:, columns]}
        return arrays

    def columns(self, call: Call) -> list[int] | None:
        """The channels of the input whose weights a page has; None for all."""
        kind = self.kinds[call.name]
        is_whole = kind.kind != "convolution" or kind.options["groups"] > 1
        return (
            None if is_whole or self.has_all(call.inputs[0]) else self.with_numbers[call.inputs[0]]
        )

    def layers(self) -> list[dict[str, Any]]:
        """The image, and what each call makes of it."""
        first: dict[str, Any] = {
            "name": INPUT, "op": "", "kind": "input", "inputs": [], "formula": "", "options": {},
            "parameters": "0", "arrays": {}, "size": "",
            "field": _field(ReceptiveField((1, 1), (1, 1), (0, 0))),
            "columns": None, "path": [],
        }  # fmt: skip
        rows = [{**first, **self.volume(INPUT, derived=False)}]
        rows += [self.layer(call) for call in self.calls]
        return rows

    def layer(self, call: Call) -> dict[str, Any]:
        kind, arrays = self.kinds[call.name], self.arrays(call)
        return {
            "name": call.name,
            "op": call.op,
            "path": list(call.path),
            "kind": kind.kind,
            "inputs": [self.order[name] for name in call.inputs if name in self.order],
            "formula": kind.formula,
            "size": _size(call, kind),
            "parameters": _count(call, kind, self.parameters),
            "field": _field(self.fields[call.name]),
            "options": kind.options,
            "columns": self.columns(call),
            "arrays": {
                name: {"shape": list(t.shape), "floats": _base64(t)} for name, t in arrays.items()
            },
            **self.volume(call.name, self.is_derived(call)),
        }

    def volume(self, name: str, derived: bool) -> dict[str, Any]:
        """What a call makes of each image."""
        x = self.seen.outputs[name]
        shape, is_drawn = list(x.shape[1:]), x.dim() in (2, 4)
        maps = self.drawn.get(name, []) if x.dim() == 4 else None
        shown = x[:, maps] if maps is not None else x
        largest = [float(one.abs().max()) for one in shown]
        return {
            "shape": shape,
            "maps": None if x.dim() != 4 or self.has_all(name) else self.with_numbers[name],
            "rows": self.with_numbers[name] if x.dim() == 2 and not self.is_whole(name) else None,
            "drawn": maps,
            "largest": largest,
            "values": None
            if derived or not is_drawn
            else [_base64(one) for one in self.numbers_of(name)],
            "sprites": [
                sprite(one.float(), most, self.plan.pixels)
                for one, most in zip(shown, largest, strict=True)
            ]
            if is_drawn
            else [],
        }

    def is_whole(self, name: str) -> bool:
        return len(self.with_numbers[name]) == self.seen.outputs[name].shape[1]


def _kind(call: Call, seen: Values) -> Kind:
    """How a call computes, where it can be said which tensors it reads."""
    kind = kind_of(call, seen.operands[call.name])
    return Kind("other", kind.formula) if seen.several & {call.name, *call.inputs} else kind


def _on_cpu(seen: Values) -> Values:
    outputs = {name: t.float().cpu() for name, t in seen.outputs.items()}
    return seen._replace(outputs=outputs)


def _image(image: Picture, probabilities: Tensor, classes: Sequence[str]) -> dict[str, Any]:
    best = probabilities.topk(min(TOP, len(probabilities)))
    return {
        "name": image.name,
        "truth": None if image.truth is None else classes[image.truth],
        "picture": picture(image.pixels),
        "size": list(image.pixels.shape[-2:]),
        "top": [
            [classes[i], p]
            for i, p in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ],
    }


def _base64(x: Tensor) -> str:
    """Numbers as float32, little-endian as browsers have them."""
    return base64.b64encode(x.detach().float().cpu().contiguous().numpy().tobytes()).decode()


def _field(field: ReceptiveField | None) -> dict[str, list[int]] | None:
    return None if field is None else {name: list(pair) for name, pair in field._asdict().items()}


def _size(call: Call, kind: Kind) -> str:
    """How the size of the output follows from that of the input, for one axis."""
    if "kernel_size" not in kind.options or call.shape is None:
        return ""
    length, (k, *_), (s, *_), (p, *_), (d, *_) = (
        call.in_shapes[0][2],
        *(kind.options[name] for name in ("kernel_size", "stride", "padding", "dilation")),
    )
    if s == 0:
        return f"one window of {k} pixels"
    return f"({length} + 2 · {p} {MINUS} {d * (k - 1) + 1}) / {s} + 1 = {call.shape[2]}"


def _count(call: Call, kind: Kind, parameters: Mapping[str, int]) -> str:
    """The number of parameters, as a product where there is one."""
    total = sum(parameters.get(name, 0) for name in call.parameters)
    weight = kind.arrays.get("weight")
    if kind.kind in ("convolution", "linear") and weight is not None:
        factors, has_bias = list(weight.shape), "bias" in kind.arrays
        inner = f" {TIMES} ".join(map(str, factors[1:]))
        if math.prod(factors) + has_bias * factors[0] == total:
            return f"{factors[0]} · ({inner}{' + 1' if has_bias else ''}) = {total:,}"
    return f"{total:,}"
