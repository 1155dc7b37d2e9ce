"""Whether a network is as sure as it is right."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

BINS = 15


def expected_calibration_error(logits: Tensor, targets: Tensor, bins: int = BINS) -> float:
    """How far confidence is from accuracy, on average over the images.

        ECE = sum over bins b of  |B_b| / N  |acc(B_b) - conf(B_b)|

    An image's confidence is the softmax probability of the class it is given; B_b are the images
    whose confidence is in the b-th of `bins` intervals of equal width, (0, 1/bins] and so on, acc
    is their accuracy and conf their mean confidence.  0 is perfect; an overconfident network that
    is right in 90 % of all cases and always certain has 0.1.

    Args:
        logits: (N, classes).
        targets: the true classes, (N).
    Returns:
        from 0 to 1; NaN if a logit is.
    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2.
    """
    confidence, predictions = (t.numpy() for t in logits.double().softmax(1).max(1))
    if not np.isfinite(confidence).all():
        return math.nan
    is_right = predictions == targets.numpy()
    which = np.ceil(confidence * bins).clip(1).astype(np.int64)
    return float(np.abs(np.bincount(which, is_right - confidence)).sum() / len(targets))
