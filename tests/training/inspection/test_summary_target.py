"""summarize.py on runs: their network, precision and optimiser."""

import dataclasses
import json
import sys

import pytest
import torch

import layers
import summarize
from training.errors import UserError
from training.fit import fit
from training.inspection.summarize import bytes_of, summarize_target
from training.inspection.summary_target import find


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


OWN = """
import torch

class Lazy(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Flatten(), torch.nn.LazyLinear(10))

class Two(torch.nn.Module):
    def forward(self, images, masks):
        return images * masks

class Talkative(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Conv2d(3, 4, 3))
        print("made")
"""


@pytest.fixture
def own(tmp_path):
    file = tmp_path / "own_networks.py"
    file.write_text(OWN)
    return file


def test_a_network_that_one_batch_of_images_does_not_describe(own):
    with pytest.raises(UserError, match="has lazy layers"):
        summarize_target(f"{own}:Lazy")
    with pytest.raises(UserError, match="'masks': wrap it in a module whose forward takes images"):
        summarize_target(f"{own}:Two")


@pytest.mark.parametrize("name", ["lenet", "INPUT[3x8x8] -> FC10"])
def test_arguments_of_a_network_that_takes_none(name):
    with pytest.raises(UserError, match="--args are of the constructor of a network of yours"):
        find(name, arguments="3")


def test_layers_of_a_network_that_has_its_own(own):
    with pytest.raises(UserError, match="Talkative has its own"):
        find(f"{own}:Talkative", layers="torch")


def test_json_is_all_that_is_printed(own, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["summarize.py", f"{own}:Talkative", "--json"])
    summarize.main()
    printed = capsys.readouterr()
    assert json.loads(printed.out)["totals"]["parameters"] == 4 * 28
    assert "made" in printed.err
