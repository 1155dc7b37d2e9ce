"""A training step's memory is the same whenever it is asked for."""

import pytest
import torch

import layers
import models
from analysis.benchmark_config import BenchmarkConfig
from analysis.step import Batch, TrainingStep


@pytest.mark.parametrize("nn", [layers, torch.nn], ids=["ours", "torch"])
def test_every_call_gives_the_same_peak(nn):
    network = models.build("lenet", nn=nn)
    weights = sum(parameter.nbytes for parameter in network.parameters())
    step = TrainingStep(network, nn, Batch(BenchmarkConfig(), (4, 1, 32, 32), 10))
    first = step.peak()
    assert first >= 3 * weights  # and momenta, and gradients
    step()  # leaves gradients
    assert [step.peak(), step.peak()] == [first, first]
