"""compare.py judges: equal layer sets pass, a wrong one fails."""

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from analysis import parity

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("name", ["lenet", "lenet5"])
def test_both_layer_sets_agree_over_a_training_run(name, monkeypatch):
    monkeypatch.setattr(parity, "Timer", Instant)
    found = parity.compare(name, batch_size=8, threads=1, repetitions=2)
    assert found.logits < 1e-5
    assert found.gradients < 1e-4
    assert found.trajectory < 1e-5
    assert found.ratio == 1


class Instant:
    """A timer that runs its statement once and always measures one second."""

    def __init__(self, statement, globals, num_threads):
        exec(statement, globals)

    def blocked_autorange(self, min_run_time):
        return self

    median = 1.0


def test_a_wrong_layer_is_found(monkeypatch):
    monkeypatch.setattr(parity, "Timer", Instant)

    def wrong(self, x):
        return 1.01 * torch.nn.functional.linear(x, self.weight, self.bias)

    monkeypatch.setattr(parity.layers.Linear, "forward", wrong)
    found = parity.compare("lenet", batch_size=4, threads=1, repetitions=1)
    assert found.logits > 1e-3
    assert not found.within(1e-4)
    assert not dataclasses.replace(found, logits=0, gradients=math.nan, trajectory=0).within(1e-4)


def test_error_is_relative_to_the_largest_number():
    assert parity.error(torch.tensor([1.0, 100.0]), torch.tensor([2.0, 100.0])) == pytest.approx(
        0.01
    )


def test_the_command():
    done = subprocess.run(
        [sys.executable, "compare.py", "lenet", "--batch-size", "2", "--repetitions", "1"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ratio" in done.stdout
    done = subprocess.run(
        [sys.executable, "compare.py", "lennet"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "did you mean lenet" in done.stderr
