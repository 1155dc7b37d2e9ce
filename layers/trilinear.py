"""The one structure behind convolution and its relatives: a trilinear form with a slot left open.

A layer with weights, its gradient with respect to the input and its gradient with respect to the
weights are one number

    T(x, w, g) = sum of  g * w * x   over everything the layer connects

with one of its three arguments left open:

    output(x, w)   leaves g open     dx = input(w, dy)     dw = weight(x, dy)
    input(w, g)    leaves x open     dw = weight(dx, g)    dg = output(dx, w)
    weight(x, g)   leaves w open     dx = input(dw, g)     dg = output(x, dw)

The derivative of each with respect to either argument is another of the three, so every order of
derivative exists, and only x, w and g are ever saved.  Of complex numbers, what is saved enters a
gradient conjugated, which real numbers do not notice.  `trilinear` makes the three of operators.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .autograd import GroupedBilinear
from .interop.tracing import image_size


class Slot(GroupedBilinear):
    """f(a, b, geometry, ...), whose `forward` is a registered operator."""

    OUTPUT: type[OutputSlot]
    INPUT: type[InputSlot]
    WEIGHT: type[WeightSlot]


class OutputSlot(Slot):
    """y = output(x, w).  x (N, C_in, H, W) -> y (N, C_out, H_out, W_out)."""

    FILTERS = 1

    @classmethod
    def backward(cls, ctx: Any, dy: Tensor) -> tuple:
        (x, weight), (geometry, *constants) = ctx.saved_tensors, ctx.constants
        needs_x, needs_weight, *others = ctx.needs_input_grad
        sized = geometry, image_size(x), *constants
        dx = cls.INPUT.apply(weight.conj(), dy, *sized) if needs_x else None
        dw = cls.WEIGHT.apply(x.conj(), dy, geometry, *constants) if needs_weight else None
        return dx, dw, *[None] * len(others)


class InputSlot(Slot):
    """x = input(w, g).  g (N, C_out, H_out, W_out) -> x (N, C_in, H, W)."""

    FILTERS = 0

    @classmethod
    def backward(cls, ctx: Any, dx: Tensor) -> tuple:
        (weight, g), (geometry, _, *constants) = ctx.saved_tensors, ctx.constants
        needs_weight, needs_g, *others = ctx.needs_input_grad
        dw = cls.WEIGHT.apply(dx, g.conj(), geometry, *constants) if needs_weight else None
        dg = cls.OUTPUT.apply(dx, weight.conj(), geometry, *constants) if needs_g else None
        return dw, dg, *[None] * len(others)


class WeightSlot(Slot):
    """w = weight(x, g)."""

    FILTERS = None

    @classmethod
    def backward(cls, ctx: Any, dw: Tensor) -> tuple:
        (x, g), (geometry, *constants) = ctx.saved_tensors, ctx.constants
        needs_x, needs_g, *others = ctx.needs_input_grad
        sized = geometry, image_size(x), *constants
        dx = cls.INPUT.apply(dw, g.conj(), *sized) if needs_x else None
        dg = cls.OUTPUT.apply(x.conj(), dw, geometry, *constants) if needs_g else None
        return dx, dg, *[None] * len(others)


def trilinear(
    name: str, output: Callable, input: Callable, weight: Callable, *, groups_at: int
) -> tuple[type[OutputSlot], type[InputSlot], type[WeightSlot]]:
    """Three Functions, each the derivative of the others, of three operators.

    Args:
        output, input, weight: operators (x, w, geometry, ...), (w, g, geometry, image_size, ...)
            and (x, g, geometry, ...); the dots are the same constants in all of them.
        groups_at: the weights' dimension that holds the groups.
    """
    kinds = (OutputSlot, output, ""), (InputSlot, input, "Input"), (WeightSlot, weight, "Weight")
    slots: Any = [
        type(f"{name}{suffix}", (kind,), {"forward": staticmethod(operator)})
        for kind, operator, suffix in kinds
    ]
    y, x, w = slots
    for slot in slots:
        slot.OUTPUT, slot.INPUT, slot.WEIGHT = y, x, w
    y.CHANNELS, x.CHANNELS, w.CHANNELS = (1, groups_at, 1), (groups_at, 1, 1), (1, 1, groups_at)
    return y, x, w
