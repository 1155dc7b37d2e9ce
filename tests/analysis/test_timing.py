"""Interleaved timing."""

import pytest
import torch

from analysis import timing
from analysis.targets import geometric_mean


class FakeRun:
    """Reports a fixed time, and logs each run."""

    def __init__(self, log, name, seconds):
        self.log, self.name, self.seconds = log, name, seconds

    def run(self):
        self.log.append(self.name)
        return self.seconds / 4, self.seconds


def test_sides_run_in_turn_at_least_three_times():
    log = []
    sides = {name: FakeRun(log, name, 1.0) for name in "ab"}
    times = timing.interleave(sides, seconds=0)
    assert log == ["a", "a", "b", "b", *"ab" * timing.MIN_ROUNDS]  # after a warm-up and a trial run
    assert times["a"] == timing.Times([0.25] * 3, [1.0] * 3)


def test_short_runs_are_repeated_within_a_round():
    log = []
    timing.interleave({"short": FakeRun(log, "short", timing.MIN_SECONDS / 5)}, seconds=0)
    assert len(log) == 2 + 5 * timing.MIN_ROUNDS


def test_a_ratio_is_the_median_over_the_rounds():
    assert timing.Ratio.of([3], [2]) == (1.5, 1.5, 1.5)
    ratio = timing.Ratio.of([*range(1, 10), 1000, 0], [1] * 11)
    assert ratio == (5, 1, 9)  # without the two interrupted rounds
    assert str(ratio) == "5.00 (1.00 to 9.00)"


def test_a_timed_layer_runs_forward_and_backward():
    layer = torch.nn.Linear(3, 2)
    timed = timing.TimedLayer(layer, [torch.randn(4, 3, requires_grad=True)])
    forward, total = timed.run()
    assert 0 < forward < total
    assert layer.weight.grad is None  # nothing accumulates


def test_the_timer_synchronises_with_the_device(monkeypatch):
    synchronised = []
    monkeypatch.setattr(torch.accelerator, "synchronize", synchronised.append)
    for name in ("cpu", "xpu:1", "mps"):
        timing.timer(torch.device(name))
    assert synchronised == [torch.device("xpu:1"), torch.device("mps")]


def test_the_geometric_mean_is_weighted():
    assert geometric_mean([(2.0, 1), (8.0, 1)]) == pytest.approx(4)
    assert geometric_mean([(1.0, 3), (16.0, 1)]) == pytest.approx(2)
    assert geometric_mean([(0.0, 1), (1.0, 1)]) == 0
