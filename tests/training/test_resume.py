"""Runs that were cut, finished or extended, and go on."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.training.curves import events, rates
from training import fit
from training.checkpoints import checkpoint
from training.errors import UserError

ROOT = Path(__file__).parent.parent.parent


def test_a_finished_run_is_not_trained_or_tested_again(quick):
    fit.fit(quick)
    folder = quick.logdir / "lenet-digits"
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    for epochs in (1, 2):
        with pytest.raises(UserError, match="has trained 2 epochs already"):
            fit.fit(dataclasses.replace(quick, resume=folder, epochs=epochs))
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_more_epochs_continue_on_the_new_schedule(quick):
    """Half a cosine over two epochs ends at zero; over four it is then half way."""
    fit.fit(quick)
    folder = quick.logdir / "lenet-digits"
    fit.fit(dataclasses.replace(quick, resume=folder / "last.pt", epochs=4))
    curve = events(folder / "train").Scalars("step/learning_rate")
    expected = rates(21, epochs=4)  # 1293 images in batches of 64
    late = [event for event in curve if event.step > 2 * 21]
    assert len(late) > 10
    for event in late:
        assert event.value == pytest.approx(expected[event.step - 1] * quick.lr, rel=1e-5)
    assert len({event.step for event in curve}) == len(curve)


def test_an_extended_run_that_is_cut_before_its_test_can_be_resumed(quick, monkeypatch):
    fit.fit(quick)
    folder = quick.logdir / "lenet-digits"

    def cut(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "test", cut)
    with pytest.raises(KeyboardInterrupt):
        fit.fit(dataclasses.replace(quick, resume=folder, epochs=3))
    monkeypatch.undo()
    metrics = fit.fit(dataclasses.replace(quick, resume=folder, epochs=3))
    assert json.loads((folder / "metrics.json").read_text()) == metrics


def test_a_run_cut_before_its_first_checkpoint_starts_again(quick):
    fit.fit(dataclasses.replace(quick, name="whole"))
    fit.fit(dataclasses.replace(quick, name="cut", epochs=1))
    for name in ("last.pt", "best.pt", "metrics.json"):
        (quick.logdir / "cut" / name).unlink()
    fit.fit(dataclasses.replace(quick, resume=quick.logdir / "cut"))
    whole, again = (
        checkpoint.load(quick.logdir / name / "last.pt")[1]["model"] for name in ("whole", "cut")
    )
    for key, value in whole.items():
        assert torch.equal(value, again[key])


def test_a_crash_between_the_two_checkpoints_repeats_an_epoch(quick, monkeypatch):
    fit.fit(dataclasses.replace(quick, name="whole"))
    original, saved = checkpoint.save, []

    def crash(path, *arguments, **state):
        if path.name == "last.pt":
            raise KeyboardInterrupt
        saved.append(path.name)
        original(path, *arguments, **state)

    monkeypatch.setattr(checkpoint, "save", crash)
    with pytest.raises(KeyboardInterrupt):
        fit.fit(dataclasses.replace(quick, name="cut"))
    monkeypatch.undo()
    assert saved == ["best.pt"]
    fit.fit(dataclasses.replace(quick, resume=quick.logdir / "cut"))
    states = [checkpoint.load(quick.logdir / name / "last.pt")[1] for name in ("whole", "cut")]
    assert states[0]["metrics"] == states[1]["metrics"]


def test_a_checkpoint_of_another_run_is_refused(quick):
    fit.fit(dataclasses.replace(quick, name="a", epochs=1))
    fit.fit(dataclasses.replace(quick, name="b", epochs=1, lr=0.125))
    (quick.logdir / "b" / "last.pt").replace(quick.logdir / "a" / "last.pt")
    with pytest.raises(UserError, match=r"trained with --lr 0\.125, but .* another run"):
        fit.fit(dataclasses.replace(quick, resume=quick.logdir / "a", epochs=3))


@pytest.mark.parametrize(
    "model", ["lenet", "lenet5", "INPUT[1x8x8] -> CONV3-4 -> DROPOUT0.1 -> RELU -> FC"]
)
def test_killed_and_resumed_is_bit_identical(tmp_path, model):
    """SIGKILL in the middle of the second epoch, resume, finish: as if nothing had happened."""
    arguments = ["--model", model, "--epochs", "3", "--batch-size", "4", "--log-every", "5"]

    def start(*more):
        command = [sys.executable, "train.py", "--logdir", str(tmp_path), *more]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    whole = start(*arguments, "--name", "whole")
    assert whole.wait() == 0, whole.stdout.read()
    killed = start(*arguments, "--name", "killed")
    last = tmp_path / "killed" / "last.pt"
    deadline = time.monotonic() + 120
    while not last.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    done = checkpoint.load(last)[1]["step"]
    steps = []
    while not (steps and steps[-1] > done) and time.monotonic() < deadline:
        time.sleep(0.02)  # until it has logged steps of the next epoch
        steps = [e.step for e in events(tmp_path / "killed" / "train").Scalars("step/loss")]
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert steps[-1] > done
    assert 1 <= checkpoint.load(last)[1]["epoch"] < 3
    resumed = start("--resume", str(tmp_path / "killed"))
    assert resumed.wait() == 0, resumed.stdout.read()

    _, a = checkpoint.load(tmp_path / "whole" / "last.pt")
    _, b = checkpoint.load(last)
    for name, weight in a["model"].items():
        assert torch.equal(weight, b["model"][name]), name
    assert a["metrics"] == b["metrics"]
    assert torch.equal(a["random"]["torch"], b["random"]["torch"])
    for part, tags in (("train", ("step/loss", "epoch/loss")), ("val", ("epoch/accuracy",))):
        for tag in tags:  # the same curve: no gap, no overlap
            curves = [
                [(e.step, e.value) for e in events(tmp_path / run / part).Scalars(tag)]
                for run in ("whole", "killed")
            ]
            assert curves[0] == curves[1]
    for process in (whole, killed, resumed):
        process.stdout.close()
