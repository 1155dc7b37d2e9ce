"""A run killed again and again ends as the one that was not: `make test-slow`."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.training.curves import events
from training.checkpoints import checkpoint

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
KILLS = 20
OPTIONS = [
    "--model", "INPUT[1x16x16] -> CONV3-4 -> BN -> RELU -> POOL2 -> DROPOUT0.1 -> FC",
    "--image-size", "16", "--epochs", "40", "--batch-size", "8", "--augment", "affine",
    "--mixup", "0.2", "--ema", "0.99", "--amp", "bf16", "--checkpoint-every", "40steps",
    "--log-every", "20",
]  # fmt: skip


def start(folder, *options):
    command = [sys.executable, "train.py", "--logdir", str(folder), *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, start_new_session=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def kill(process):
    """The process and its workers, at once."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_killed_at_random_moments(tmp_path, workers):
    """Three of the kills are inside the writing of a checkpoint."""
    chance = random.Random(int(workers))
    options = [*OPTIONS, "--workers", workers]
    whole = start(tmp_path, *options, "--name", "whole")
    assert whole.wait() == 0
    run, while_writing, killed = tmp_path / "killed", 0, 0
    process = start(tmp_path, *options, "--name", "killed")
    while killed < KILLS:
        if while_writing < 3:
            inside = wait_for_a_checkpoint_being_written(run, process)
            while_writing += inside
        else:
            time.sleep(chance.uniform(2, 6))
        if process.poll() is not None:
            break  # it has finished
        kill(process)
        killed += 1
        process = start(tmp_path, "--resume", str(run))
    assert process.wait() == 0
    assert while_writing >= 3
    print(f"killed {killed} times, {while_writing} inside a checkpoint")
    (_, a), (_, b) = (checkpoint.load(tmp_path / name / "last.pt") for name in ("whole", "killed"))
    for part in ("model", "ema"):
        for name, tensor in a[part].items():
            assert torch.equal(tensor, b[part][name]), name
    curves = [
        [(e.step, e.value) for e in events(tmp_path / name / "train").Scalars("step/loss")]
        for name in ("whole", "killed")
    ]
    assert curves[0] == curves[1]


def wait_for_a_checkpoint_being_written(run, process, seconds=120):
    """Whether a temporary file was seen; it is there while a checkpoint is written."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if any(run.glob("last.tmp")):
            return True
    return False
