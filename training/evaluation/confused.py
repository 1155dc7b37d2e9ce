"""Which classes a network takes for which others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix
from torch import Tensor

PAIRS = 10


def confused_pairs(
    predictions: Tensor, targets: Tensor, classes: Sequence[str], most: int = PAIRS
) -> list[dict[str, Any]]:
    """The most frequent mistakes, the most frequent first.

    Returns:
        of each: true and predicted (names), images (so mistaken), share (of those of the class).
    """
    matrix = confusion_matrix(targets, predictions, labels=range(len(classes)))
    per_class = np.bincount(targets, minlength=len(classes))
    mistakes = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:most]
    found = zip(*np.unravel_index(order, mistakes.shape), strict=True)
    return [
        {
            "true": classes[i],
            "predicted": classes[j],
            "images": int(mistakes[i, j]),
            "share": float(mistakes[i, j] / per_class[i]),
        }
        for i, j in found
        if mistakes[i, j]
    ]
