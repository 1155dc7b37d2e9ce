"""A run that goes on from an older checkpoint of its own."""

import dataclasses
import shutil

import pytest
import torch

from training import fit
from training.checkpoints import checkpoint


@pytest.fixture
def run(quick):
    options = dataclasses.replace(quick, name="run", epochs=3, keep=9, checkpoint_every="10steps")
    fit.fit(options)
    return options.logdir / "run", options


def state(path):
    return checkpoint.load(path)[1]


@pytest.mark.parametrize("step", [21, 30])
def test_later_checkpoints_are_no_part_of_it(run, step, monkeypatch, capsys):
    """Not even where it is cut again before its first new checkpoint."""
    folder, options = run
    whole = state(folder / "last.pt")["model"]
    shutil.copy(folder / "last.pt", folder / "best.pt")  # the best weights were the last epoch's

    def cut(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "train", cut)
    with pytest.raises(KeyboardInterrupt):
        fit.fit(dataclasses.replace(options, resume=folder / f"step-{step}.pt"))
    monkeypatch.undo()
    assert f"goes on from step {step}; checkpoints of later steps" in capsys.readouterr().out
    assert state(folder / "last.pt")["step"] == state(folder / "best.pt")["step"] == step
    assert max(int(path.stem[5:]) for path in folder.glob("step-*.pt")) == step
    fit.fit(dataclasses.replace(options, resume=folder))
    again = state(folder / "last.pt")["model"]
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_an_earlier_best_stays(run, monkeypatch):
    folder, options = run
    shutil.copy(folder / "step-10.pt", folder / "best.pt")
    best = state(folder / "step-42.pt")["best"]

    def cut(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "train", cut)
    with pytest.raises(KeyboardInterrupt):
        fit.fit(dataclasses.replace(options, resume=folder / "step-42.pt"))
    assert state(folder / "best.pt")["step"] == 10
    assert state(folder / "last.pt")["step"] == 42
    assert state(folder / "last.pt")["best"] == best
