"""Explains wrong results by testing common mistakes.

Each mistake is made in a copy of the float64 twin; it is the explanation if the twin then gives the
result of the layer under test.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from math import isclose

import torch
from torch import Tensor

from .accuracy import error


def explain_output(
    found: Tensor, expected: Tensor, exact: torch.nn.Module, x: Tensor, tolerance: float
) -> str:
    """One sentence on why the output is wrong.

    Args:
        exact: the twin in float64; `expected` is exact(x).
    """
    if found.shape != expected.shape:
        return f"its shape is {_shape(found)} and must be {_shape(expected)}"
    for sentence, prediction in _outputs_with_mistakes(exact, x):
        if error(found, prediction) <= tolerance:
            return sentence
    return explain_tensor(found, expected, len(x), tolerance)


def explain_tensor(found: Tensor | None, expected: Tensor, batch: int, tolerance: float) -> str:
    """One sentence on how a tensor differs from the expected one."""
    if found is None:
        return "it does not arrive: the computation is cut off from it"
    if found.shape != expected.shape:
        return f"its shape is {_shape(found)} and must be {_shape(expected)}"
    found, expected = found.detach().double(), expected.detach().double()
    bad = ~found.isfinite()
    if bad.any():
        return f"{bad.double().mean():.0%} of it is NaN or infinite"
    if not found.any():
        return "it is zero everywhere"
    factor = ((found * expected).sum() / expected.square().sum()).item()
    if error(found, factor * expected) <= tolerance:
        return f"it is {factor:.4g} times what it must be{_cause_of_factor(factor, batch)}"
    wrong = (found - expected).abs() > tolerance * expected.abs().max()
    return f"{wrong.double().mean():.0%} of its numbers are wrong"


def _cause_of_factor(factor: float, batch: int) -> str:
    if isclose(factor, -1, rel_tol=1e-3):
        return ": the sign is wrong"
    if batch > 1 and isclose(factor * batch, 1, rel_tol=1e-3):
        return ": the mean over the batch, where its sum is due"
    return ""


def _outputs_with_mistakes(exact: torch.nn.Module, x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Pairs of a mistake, in words, and the output that it gives."""
    changes: list[tuple[str, str, Callable[[Tensor], Tensor]]] = []
    weight = getattr(exact, "weight", None)
    if isinstance(weight, Tensor) and weight.dim() == 4:
        changes = [
            ("its filters are turned by 180 degrees: a mathematician's convolution, where torch.nn "
             "and the chapter slide the filter as it is", "weight", lambda w: w.flip(2, 3)),
            ("rows and columns of its filters are exchanged", "weight", lambda w: w.mT),
        ]  # fmt: skip
    if isinstance(getattr(exact, "bias", None), Tensor):
        changes += [("its bias is not added", "bias", torch.zeros_like),
                    ("its bias is subtracted", "bias", torch.neg)]  # fmt: skip
    for sentence, name, change in changes:
        other = copy.deepcopy(exact)
        parameter = getattr(other, name)
        parameter.data = change(parameter.data)
        if parameter.shape == getattr(exact, name).shape:
            yield sentence, other(x).detach()


def _shape(values: Tensor) -> str:
    return " x ".join(map(str, values.shape))
