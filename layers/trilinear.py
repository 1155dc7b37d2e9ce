"""The one structure behind convolution and its relatives: a trilinear form with a slot left open.

A layer with weights, its gradient by the image and its gradient by the weights are one number

    T(x, w, g) = sum of  g * w * x   over everything the layer connects

with one of its three arguments left open:

    output(x, w)   leaves g open     dx = input(w, dy)     dw = weight(x, dy)
    input(w, g)    leaves x open     dw = weight(dx, g)    dg = output(dx, w)
    weight(x, g)   leaves w open     dx = input(dw, g)     dg = output(x, dw)

The derivative of each by either argument is another of the three, so every order of derivative
exists, and only x, w and g are ever saved.  Of complex numbers, what is saved enters a gradient
conjugated, which real numbers do not notice.  A subclass of each states how it is computed, and
`connect` tells the three of each other.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .autograd import GroupedBilinear
from .ops.registry import image_size


class Slot(GroupedBilinear):
    OUTPUT: type[OutputSlot]
    INPUT: type[InputSlot]
    WEIGHT: type[WeightSlot]


class OutputSlot(Slot):
    """y = output(x, w).  x (N, C_in, H, W) -> y (N, C_out, H_out, W_out)."""

    FILTERS = 1

    @classmethod
    def backward(cls, ctx: Any, dy: Tensor) -> tuple:
        (x, weight), (geometry,) = ctx.saved_tensors, ctx.constants
        needs_x, needs_weight, _ = ctx.needs_input_grad
        dx = cls.INPUT.apply(weight.conj(), dy, geometry, image_size(x)) if needs_x else None
        dw = cls.WEIGHT.apply(x.conj(), dy, geometry) if needs_weight else None
        return dx, dw, None


class InputSlot(Slot):
    """x = input(w, g).  g (N, C_out, H_out, W_out) -> x (N, C_in, H, W)."""

    FILTERS = 0

    @classmethod
    def backward(cls, ctx: Any, dx: Tensor) -> tuple:
        (weight, g), (geometry, _) = ctx.saved_tensors, ctx.constants
        needs_weight, needs_g, *_ = ctx.needs_input_grad
        dw = cls.WEIGHT.apply(dx, g.conj(), geometry) if needs_weight else None
        dg = cls.OUTPUT.apply(dx, weight.conj(), geometry) if needs_g else None
        return dw, dg, None, None


class WeightSlot(Slot):
    """w = weight(x, g)."""

    FILTERS = None

    @classmethod
    def backward(cls, ctx: Any, dw: Tensor) -> tuple:
        (x, g), (geometry,) = ctx.saved_tensors, ctx.constants
        needs_x, needs_g, _ = ctx.needs_input_grad
        dx = cls.INPUT.apply(dw, g.conj(), geometry, image_size(x)) if needs_x else None
        dg = cls.OUTPUT.apply(x.conj(), dw, geometry) if needs_g else None
        return dx, dg, None


def connect(
    output: type[OutputSlot], input: type[InputSlot], weight: type[WeightSlot], groups_at: int
) -> None:
    """Make three operators one form; `groups_at` is the weights' dimension of groups."""
    for slot in (output, input, weight):
        slot.OUTPUT, slot.INPUT, slot.WEIGHT = output, input, weight
    output.CHANNELS = 1, groups_at, 1
    input.CHANNELS = groups_at, 1, 1
    weight.CHANNELS = 1, 1, groups_at
