"""summarize.py on runs: their network, precision and optimiser."""

import dataclasses

import pytest
import torch

import layers
from training.errors import UserError
from training.fit import fit
from training.summarize import bytes_of, summarize_target
from training.summary_target import find


@pytest.fixture
def run(quick):
    def trained(**options):
        fit(dataclasses.replace(quick, name="run", limit_steps=2, **options))
        return str(quick.logdir / "run")

    return trained


def test_a_run_is_summarised_as_it_was_trained(run):
    folder = run(dtype="float64", optimizer="adamw")
    target, summary, memory = summarize_target(folder)
    assert (target.name, target.layers, target.nn) == ("lenet", "custom", layers)
    assert target.image == (1, 16, 16)
    parameters = sum(p.numel() for p in target.model.parameters())
    assert summary.parameters == parameters
    assert memory.training.weights == 8 * parameters
    assert memory.training.optimizer >= 2 * 8 * parameters  # two averages
    _, _, as_asked = summarize_target(folder, dtype="float32", optimizer="sgd")
    assert as_asked.training.weights == 4 * parameters
    assert as_asked.training.optimizer == 4 * parameters


def test_half_precision_is_that_of_amp(run):
    target = find(run(amp="bf16") + "/last.pt")
    assert target.dtype == torch.bfloat16
    assert find("lenet").dtype == torch.float32


@pytest.mark.parametrize("text", ["99999999TB", "0GB", "twelve", "12XB", "-1GB"])
def test_sizes_that_are_none(text):
    with pytest.raises(UserError, match="--memory must be"):
        bytes_of(text)
