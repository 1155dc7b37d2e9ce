"""What the cross-entropy takes."""

from __future__ import annotations

import torch
from torch import Tensor

from .dtypes import refuse_complex, require_float


def check(input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int) -> None:
    """Raise what `cross_entropy` raises for tensors that do not fit together."""
    require_float("cross_entropy", input)
    refuse_complex("cross_entropy", target, weight)
    logits, given = tuple(input.shape), tuple(target.shape)
    if given == logits:
        if not target.is_floating_point():
            raise RuntimeError(
                f"a target shaped like the logits {logits} holds probabilities, got {target.dtype}"
            )
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is for class indices, the target holds probabilities")
    if input.dim() == 0:
        raise IndexError("cross_entropy needs logits (N, C), (C) or (N, C, d1, ...), got a scalar")
    batch, classes = (1, logits[0]) if input.dim() == 1 else logits[:2]
    if given != logits:
        indices = () if input.dim() == 1 else (batch, *logits[2:])
        if given != indices and not (input.dim() == 1 and given == (1,)):  # which torch takes, too
            error = RuntimeError if given[:1] == (batch,) else ValueError
            raise error(
                f"logits {logits} need class indices {indices}, or probabilities shaped like "
                f"the logits, got {given}"
            )
        if target.dtype not in (torch.int64, torch.uint8):
            raise RuntimeError(f"class indices must be int64 (or uint8), got {target.dtype}")
    if weight is not None and tuple(weight.shape) != (classes,):
        raise RuntimeError(f"{classes} classes need {classes} weights, got {tuple(weight.shape)}")


def check_options(size_average: None, reduce: None, reduction: str, label_smoothing: float) -> None:
    if size_average is not None or reduce is not None:
        raise ValueError("size_average and reduce are retired: use reduction instead")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing must be between 0 and 1, got {label_smoothing}")


def check_dtypes(logits: Tensor, weight: Tensor | None) -> None:
    if weight is not None and weight.dtype != logits.dtype:
        raise RuntimeError(
            f"the logits are {logits.dtype} but the weights {weight.dtype}: use one dtype"
        )
