"""What a run's folder holds, and that one process at a time writes it."""

import csv
import dataclasses
import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training import fit
from training.arguments.command_line import parse
from training.checkpoints import checkpoint
from training.checkpoints.lock import lock
from training.errors import UserError
from training.monitor import progress
from training.options import to_dict

ROOT = Path(__file__).parents[3]


def test_a_line_for_every_epoch_also_when_it_is_resumed(quick, capsys):
    fit.fit(dataclasses.replace(quick, name="run"))
    folder = quick.logdir / "run"
    first = (folder / "metrics.csv").read_text()
    fit.fit(dataclasses.replace(quick, name="run", epochs=3, resume=folder))
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    assert (folder / "metrics.csv").read_text().startswith(first)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [row["step"] for row in rows] == ["21", "42", "63"]
    assert float(rows[-1]["val_acc1"]) == checkpoint.load(folder / "last.pt")[1]["metrics"]["acc1"]
    log = (folder / "log.txt").read_text()
    assert log in capsys.readouterr().out
    assert "epoch 1/2" in log
    assert "epoch 3/3" in log


def test_the_surroundings_are_written_down(quick):
    fit.fit(dataclasses.replace(quick, epochs=1, name="run"))
    environment = json.loads((quick.logdir / "run" / "environment.json").read_text())
    assert torch.__version__.startswith(environment["torch"])
    assert environment["device"] == "cpu"
    assert environment["threads"] == torch.get_num_threads()
    assert environment["processes"] == 1
    assert set(environment) >= {"python", "torchvision", "numba", "git_commit", "platform"}


def test_config_repeats_a_run(quick):
    fit.fit(dataclasses.replace(quick, name="run", epochs=1, lr=0.04))
    config = quick.logdir / "run" / "config.yaml"
    again = parse(["--config", str(config), "--name", "again"], "")
    changed = {"name", "resume"}
    first = checkpoint.load(quick.logdir / "run" / "last.pt")[0]
    for key, value in to_dict(again).items():
        assert key in changed or value == to_dict(first)[key], key
    fit.fit(again)
    weights = [
        checkpoint.load(quick.logdir / name / "last.pt")[1]["model"] for name in ("run", "again")
    ]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_a_run_is_trained_by_one_process(quick):
    fit.fit(dataclasses.replace(quick, name="run"))
    folder = quick.logdir / "run"
    program = f"""
import time
from pathlib import Path
from training.checkpoints.lock import lock
held = lock(Path({str(folder)!r}))
print("held", flush=True)
time.sleep(60)
"""
    other = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=rf"run is being trained .*\(pid {other.pid}\)"):
        fit.fit(dataclasses.replace(quick, epochs=3, resume=folder))
    other.kill()  # a stale lock is no obstacle
    other.wait()
    other.stdout.close()
    lock(folder).close()
    fit.fit(dataclasses.replace(quick, epochs=3, resume=folder))


def test_a_profile_is_a_trace(quick):
    fit.fit(dataclasses.replace(quick, epochs=1, profile=True))
    (trace,) = (quick.logdir / "lenet-digits" / "profile").glob("*.pt.trace.json")
    names = {event.get("name") for event in json.loads(trace.read_text())["traceEvents"]}
    assert "convnets::conv2d" in names


def test_deterministic_algorithms_are_asked_for(quick, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", asked.append)
    fit.fit(dataclasses.replace(quick, epochs=1, deterministic=True))
    assert asked == [True]


def test_a_file_system_without_locks_is_no_obstacle(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("training.checkpoints.lock.fcntl.flock", fail)
    lock(tmp_path).close()


def test_a_set_up_that_fails_holds_nothing(quick, monkeypatch):
    fit.fit(dataclasses.replace(quick, name="run"))
    folder = quick.logdir / "run"

    def fail(*_):
        raise UserError("no")

    monkeypatch.setattr("training.setup.announce", fail)
    with pytest.raises(UserError, match="no"):
        fit.fit(dataclasses.replace(quick, name="run", epochs=3, resume=folder))
    lock(folder).close()
    assert progress._log is None
