"""Signals and workers: to the whole group of processes, in a replay; a worker that is lost."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training import epochs, fit
from training.data import datasets
from training.errors import UserError, lost_worker
from training.interrupt import Request

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_whole_group(tmp_path, number, code):
    """As Ctrl-C sends it: the workers leave it to the run, which keeps its step."""
    options = ["--model", "lenet", "--image-size", "16", "--epochs", "1000", "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "train.py", *options, "--logdir", str(tmp_path), "--name", "run",
         "--checkpoint-every", "1steps"],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 240
    while not (tmp_path / "run" / "last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, number)
    _, told = process.communicate(timeout=120)
    assert process.returncode == code, told
    lines = [line for line in told.splitlines() if "This DataLoader will create" not in line]
    assert len(lines) == 1, told
    assert lines[0].startswith("interrupted after step")
    assert f"--resume {tmp_path / 'run'}" in lines[0]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_a_worker_that_is_killed(quick, monkeypatch):
    original = datasets.InMemory.__getitems__

    def killed(self, indices):
        if os.getpid() != main:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, indices)

    main = os.getpid()
    monkeypatch.setattr(datasets.InMemory, "__getitems__", killed)
    with pytest.raises(
        UserError, match=r"was lost \((Killed|it ended)\) with --workers 1: give fewer, .* --resume"
    ):
        fit.fit(dataclasses.replace(quick, workers=1))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that "
            "dataloader's workers are out of shared memory.",
            "lost (Bus error)",
        ),
        ("DataLoader worker (pid(s) 7, 8) exited unexpectedly", "lost (it ended)"),
        (
            "unable to write to file </torch_7_8>: No space left on device (28): shared memory",
            "the shared memory is too small",
        ),
        ("shapes do not fit", None),
    ],
)
def test_how_a_worker_is_lost(words, told):
    found = lost_worker(RuntimeError(words))
    assert found is None if told is None else told in found


def test_a_replay_is_said_and_listens(quick, monkeypatch, capsys):
    """It may take an hour; a signal ends it without the layer's name."""
    monkeypatch.setattr(Request, "number", None)
    options = dataclasses.replace(quick, lr=1e8, warmup_epochs=0, epochs=1, log_every=1000)
    with pytest.raises(UserError, match="first at step"):
        fit.fit(options)
    assert "up to 21 steps again, to see where it began" in capsys.readouterr().out
    original = epochs.train_one_epoch

    def with_a_signal(*arguments):
        try:
            return original(*arguments)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(epochs, "train_one_epoch", with_a_signal)
    with pytest.raises(UserError, match="stopped being finite") as caught:
        fit.fit(options)
    assert "first at" not in str(caught.value)
