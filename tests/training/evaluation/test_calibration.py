"""The expected calibration error, against scikit-learn's curve and by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve

from training.evaluation.calibration import BINS, expected_calibration_error


def test_against_scikit_learn_s_curve():
    logits, targets = 2 * torch.randn(500, 7), torch.randint(7, (500,))
    confidence, predictions = (t.numpy() for t in logits.double().softmax(1).max(1))
    right = predictions == targets.numpy()
    accuracy, mean = calibration_curve(right, confidence, n_bins=BINS)
    counts = np.histogram(confidence, np.linspace(0, 1, BINS + 1))[0]
    wanted = (counts[counts > 0] * np.abs(accuracy - mean)).sum() / 500
    assert wanted > 0.1
    assert expected_calibration_error(logits, targets) == pytest.approx(wanted, abs=1e-12)


def test_by_hand():
    certain = torch.tensor([[100.0, 0.0]] * 10)
    assert expected_calibration_error(certain, torch.tensor([0] * 9 + [1])) == pytest.approx(0.1)
    even = torch.zeros(4, 2)  # says a half, and is right in half of the cases
    assert expected_calibration_error(even, torch.tensor([0, 1, 0, 1])) == pytest.approx(0)
    # over- and underconfidence in two bins do not make up for each other
    logits = torch.tensor([[math.log(3), 0.0], [100.0, 0.0]])  # sure by 3/4, and certain
    assert expected_calibration_error(logits, torch.tensor([0, 1])) == pytest.approx(0.625)


def test_a_logit_that_is_none():
    assert math.isnan(expected_calibration_error(torch.tensor([[math.nan, 0]]), torch.tensor([0])))
