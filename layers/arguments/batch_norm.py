"""What batch normalisation takes."""

from __future__ import annotations

from torch import Tensor

from .dtypes import require_float


def check(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    eps: float,
) -> None:
    require_float("batch_norm", input, running_mean, running_var, weight, bias)
    if eps < 0 or (training and eps == 0):
        least = "positive in training" if training else "at least 0"
        raise ValueError(f"eps must be {least}, got {eps}")
    if input.shape == (0,):
        return
    if input.dim() < 2:
        raise RuntimeError(f"batch_norm needs (N, C, ...) activations, got {tuple(input.shape)}")
    channels = input.shape[1]
    for name, values in (
        ("running_mean", running_mean), ("running_var", running_var), ("weight", weight),
        ("bias", bias),
    ):  # fmt: skip
        if values is not None and values.shape != (channels,):
            raise RuntimeError(f"{name} must have {channels} numbers, got {tuple(values.shape)}")
    if training and (running_mean is None) != (running_var is None):
        raise ValueError("give both running_mean and running_var, or neither: one is missing")
    if not training and (running_mean is None or running_var is None):
        raise RuntimeError("without training, running_mean and running_var are needed")
