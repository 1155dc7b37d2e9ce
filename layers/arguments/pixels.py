"""Whole numbers and pairs of them, as torch.nn takes them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch

from ..ops.geometry import Pair


def as_int(value: Any, name: str) -> int:
    """A whole number of any integral type: Python's, numpy's, or a symbolic one of torch's.

    Raises:
        TypeError: anything else, bool included.
    """
    if type(value) is int or isinstance(value, torch.SymInt):
        return value  # type: ignore[return-value]
    if not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise TypeError(f"{name} must be a whole number, got {value!r}")


def pair(value: int | Sequence[int], name: str) -> Pair:
    """One number for both axes, or (height, width), as torch.nn accepts them.

    Raises:
        TypeError: numbers that are not whole.
        RuntimeError: more than two of them, or none.
    """
    if not isinstance(value, (tuple, list)):
        number = as_int(value, name)
        return number, number
    if len(value) not in (1, 2):
        numbers = [as_int(number, name) for number in value]
        raise RuntimeError(f"{name} must be one integer or a (height, width) pair, got {numbers}")
    return as_int(value[0], name), as_int(value[-1], name)


def pixels(
    padding: str | int | Sequence[int],
    kernel_size: Pair,
    stride: Pair,
    dilation: Pair,
    error: type[Exception] = RuntimeError,
) -> tuple[Pair, Pair]:
    """A padding in pixels: zeros on each side of either axis, and how many more at its end.

    Raises:
        error: a word that is neither "same" nor "valid", or "same" with a stride.  torch.nn's
            functions raise a RuntimeError then, its modules a ValueError.
    """
    if not isinstance(padding, str):
        return pair(padding, "padding"), (0, 0)
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding != "same":
        raise error(f"padding must be 'same', 'valid' or pixels, got {padding!r}")
    if stride != (1, 1):
        raise error("padding='same' keeps the size only at stride 1: give pixels")
    (top, bottom), (left, right) = same_padding(kernel_size, dilation)
    return (top, left), (bottom - top, right - left)


def same_padding(kernel_size: Pair, dilation: Pair) -> tuple[Pair, Pair]:
    """((top, bottom), (left, right)) zeros that keep the size at stride 1; the odd one goes last.

    For an odd kernel this is the chapter's P = (F - 1)/2 on every side.
    """
    (top, bottom), (left, right) = (
        (total // 2, total - total // 2)
        for total in (d * (k - 1) for k, d in zip(kernel_size, dilation, strict=True))
    )
    return (top, bottom), (left, right)
