"""What a fully connected layer takes."""

from __future__ import annotations

from math import prod

from torch import Tensor


def check(input: Tensor, weight: Tensor) -> None:
    if weight.dim() != 2 or input.dim() == 0 or input.shape[-1] != weight.shape[1]:
        raise RuntimeError(
            f"weights (C_out, C_in) = {tuple(weight.shape)} do not fit inputs (..., C_in) = "
            f"{tuple(input.shape)}"
        )
    if input.dtype != weight.dtype:
        raise RuntimeError(f"inputs are {input.dtype} but weights {weight.dtype}: use one dtype")


def bias_by_row(bias: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Biases for outputs of a shape (..., C_out), as (C_out) or, where rows differ, (rows, C_out).

    Raises:
        RuntimeError: biases that do not broadcast to the shape.
    """
    if bias.shape == shape[-1:]:
        return bias
    rows = shape if len(shape) > 1 else (1, *shape)
    try:
        return bias.expand(rows).reshape(prod(rows[:-1]), rows[-1])
    except RuntimeError:
        raise RuntimeError(
            f"{shape[-1]} output channels need {shape[-1]} biases, or some that broadcast to "
            f"{tuple(shape)}, got {tuple(bias.shape)}"
        ) from None
