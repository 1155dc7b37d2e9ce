"""A full disk, a step too large for the memory: one sentence, and what was written is whole."""

import dataclasses
import os
import re
import resource
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from analysis import predicted_memory
from training import epochs, fit
from training.checkpoints import checkpoint
from training.errors import UserError
from training.memory import machine
from training.memory.out_of_memory import out_of_memory
from training.monitor.tensorboard import Board

ROOT = Path(__file__).parent.parent.parent


def train(folder, largest, *more):
    """The command, where no file may have more than so many bytes."""

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    arguments = ["--epochs", "2", "--image-size", "16", "--logdir", str(folder), "--name", "run"]
    return subprocess.run(
        [sys.executable, "train.py", "--model", "lenet", *arguments, *more],
        cwd=ROOT, capture_output=True, text=True, preexec_fn=limited,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_a_checkpoint_that_does_not_fit(tmp_path):
    done = train(tmp_path, 20_000)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert [line.split(":")[0] for line in lines] == ["warning", "error"]
    assert "TensorBoard's events cannot be written" in lines[0]
    assert "cannot write" in lines[1]
    assert "best.pt" in lines[1]
    assert not list((tmp_path / "run").glob("*.tmp"))


def test_the_last_good_checkpoint_is_kept(quick, monkeypatch):
    original = checkpoint._save

    def full(state, file):
        if state["epoch"] == 2:
            file.write(b"half of it")
            raise OSError(28, "No space left on device")
        original(state, file)

    monkeypatch.setattr(checkpoint, "_save", full)
    folder = quick.logdir / "run"
    with pytest.raises(UserError, match=r"no space is left; .* --resume"):
        fit.fit(dataclasses.replace(quick, name="run"))
    assert checkpoint.load(folder / "last.pt")[1]["epoch"] == 1
    assert not list(folder.glob("*.tmp"))
    monkeypatch.undo()
    fit.fit(dataclasses.replace(quick, name="run", resume=folder))
    assert checkpoint.load(folder / "last.pt")[1]["epoch"] == 2


def test_a_run_goes_on_without_its_curves(tmp_path, monkeypatch):
    board = Board(tmp_path)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(board.train, "flush", fail)
    with pytest.warns(UserWarning, match="the run goes on without them"):
        board.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        board.flush()  # said once
    monkeypatch.undo()
    for writer in (board.run, board.train, board.val):
        writer.close()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"
        ),
        MemoryError(),
    ],
)
def test_out_of_memory_names_the_batch(quick, error, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(epochs, "train_one_epoch", fail)
    with pytest.raises(
        UserError, match=r"with 32 images at a time, --batch-size 64 .* --accumulate 4"
    ):
        fit.fit(dataclasses.replace(quick, accumulate=2))


def test_out_of_memory_names_the_largest_batch_that_fits(quick, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(epochs, "train_one_epoch", fail)
    monkeypatch.setattr(machine, "free", lambda _: 2_000_000)
    with pytest.raises(UserError, match=r"in half the memory\. By prediction") as caught:
        fit.fit(quick)
    size = int(re.search(r"prediction (\d+) at", str(caught.value))[1])
    assert 0 < size < 64
    assert str(caught.value).endswith(f"--batch-size {size}, or --accumulate {-(-64 // size)}")
    monkeypatch.setattr(machine, "free", lambda _: 1)
    with pytest.raises(UserError, match=r"By prediction not even one fits the 0\.0 GB"):
        fit.fit(quick)


def test_out_of_memory_without_a_prediction(quick, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(epochs, "train_one_epoch", fail)
    monkeypatch.setattr(predicted_memory, "largest_batch", fail)
    with pytest.raises(UserError, match=r"in half the memory$"):
        fit.fit(quick)


def test_another_error_is_no_lack_of_memory(quick):
    with pytest.raises(RuntimeError, match="shapes do not fit"), out_of_memory(quick):
        raise RuntimeError("shapes do not fit")
