"""The same images through the same weights with two layer sets: do any of the answers differ?"""

from __future__ import annotations

from typing import Any

from ..monitor.metrics import Evaluation


def compare_answers(
    layers: str, result: Evaluation, other_layers: str, other: Evaluation
) -> dict[str, Any]:
    """
    Args:
        layers, other_layers: keys of `models.LAYER_SETS`.
        result, other: what each of them computed, for the same images in the same order.
    Returns:
        layers (both), largest_logit_difference, largest_logit (the largest absolute one: what the
        difference is to be compared with), changed_answers (images with another class), top1 (of
        each).
    """
    difference = (result.logits.double() - other.logits.double()).abs()
    return {
        "layers": [layers, other_layers],
        "largest_logit_difference": difference.max().item(),
        "largest_logit": other.logits.abs().max().item(),
        "changed_answers": int((result.predictions != other.predictions).sum()),
        "top1": [result.acc1, other.acc1],
    }


def other_layer_set(layers: str) -> str:
    """torch.nn's to compare ours with, and the other way round."""
    return "custom" if layers == "torch" else "torch"
