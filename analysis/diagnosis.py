"""Why a layer is wrong: mistakes that people make, each tried on the exact twin.

A hypothesis is believed if the numbers it predicts are those that were found.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from math import isclose

import torch
from torch import Tensor

from .accuracy import error


def of_output(
    found: Tensor, expected: Tensor, exact: torch.nn.Module, x: Tensor, tolerance: float
) -> str:
    """A sentence about a wrong output.

    Args:
        exact: the twin in float64, which makes `expected` of x.
    """
    if found.shape != expected.shape:
        return f"its shape is {_size(found)} and must be {_size(expected)}"
    for sentence, prediction in _other_outputs(exact, x):
        if error(found, prediction) <= tolerance:
            return sentence
    return of_numbers(found, expected, len(x), tolerance)


def of_numbers(found: Tensor | None, expected: Tensor, batch: int, tolerance: float) -> str:
    """A sentence about wrong numbers of any kind."""
    if found is None:
        return "it does not arrive: the computation is cut off from it"
    if found.shape != expected.shape:
        return f"its shape is {_size(found)} and must be {_size(expected)}"
    found, expected = found.detach().double(), expected.detach().double()
    bad = ~found.isfinite()
    if bad.any():
        return f"{bad.double().mean():.0%} of it is NaN or infinite"
    if not found.any():
        return "it is zero everywhere"
    factor = ((found * expected).sum() / expected.square().sum()).item()
    if error(found, factor * expected) <= tolerance:
        return f"it is {factor:.4g} times what it must be{_meaning(factor, batch)}"
    wrong = (found - expected).abs() > tolerance * expected.abs().max()
    return f"{wrong.double().mean():.0%} of its numbers are wrong"


def _meaning(factor: float, batch: int) -> str:
    if isclose(factor, -1, rel_tol=1e-3):
        return ": the sign is wrong"
    if batch > 1 and isclose(factor * batch, 1, rel_tol=1e-3):
        return ": the mean over the batch, where its sum is due"
    return ""


def _other_outputs(exact: torch.nn.Module, x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """(what is wrong, what the output would then be)."""
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


def _size(values: Tensor) -> str:
    return " x ".join(map(str, values.shape))
