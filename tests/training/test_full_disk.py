"""A disk that is full, in fact: a tmpfs of a size around a checkpoint's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from training.checkpoints import checkpoint

ROOT = Path(__file__).parent.parent.parent
SIZES = ["1400k"] + [
    pytest.param(f"{k}k", marks=pytest.mark.slow) for k in (100, 300, 500, 700, 900, 2000)
]


@pytest.fixture
def full(request, tmp_path):
    """A folder on a disk of its own, which holds no more than `request.param`."""
    folder = tmp_path / "full"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={request.param}", "tmpfs", str(folder)]
    mounted = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"mount: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("full", SIZES, indirect=True)
def test_one_sentence_and_the_last_good_checkpoint(full):
    """LeNet-5's checkpoint takes 750 kB; what it writes besides, as much."""
    done = subprocess.run(
        [sys.executable, "train.py", "--epochs", "3", "--logdir", str(full), "--name", "run",
         "--keep", "2"],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    lines = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 1, done.stderr
    assert "no space is left" in lines[0] or "No space left" in lines[0]
    assert not list(full.rglob("*.tmp"))
    for path in full.rglob("*.pt"):
        checkpoint.load(path)
