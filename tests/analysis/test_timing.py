"""Runs in turn, ratios within a round."""

import pytest
import torch

from analysis import timing
from analysis.targets import geometric_mean


class Steady:
    """Takes as long as it says, and remembers when it ran."""

    def __init__(self, log, name, seconds):
        self.log, self.name, self.seconds = log, name, seconds

    def run(self):
        self.log.append(self.name)
        return self.seconds / 4, self.seconds


def test_sides_run_in_turn_at_least_three_times():
    log = []
    sides = {name: Steady(log, name, 1.0) for name in "ab"}
    times = timing.interleave(sides, seconds=0)
    assert log == ["a", "a", "b", "b", *"ab" * timing.ROUNDS]  # a warm-up and a trial first
    assert times["a"] == timing.Times([0.25] * 3, [1.0] * 3)


def test_what_is_short_is_repeated_within_its_turn():
    log = []
    timing.interleave({"short": Steady(log, "short", timing.BLOCK / 5)}, seconds=0)
    assert len(log) == 2 + 5 * timing.ROUNDS


def test_a_ratio_is_the_median_of_the_rounds():
    assert timing.Ratio.of([3], [2]) == (1.5, 1.5, 1.5)
    ratio = timing.Ratio.of([*range(1, 10), 1000, 0], [1] * 11)
    assert ratio == (5, 1, 9)  # without the two interrupted rounds
    assert str(ratio) == "5.00 (1.00 to 9.00)"


def test_a_side_runs_forward_and_backward():
    layer = torch.nn.Linear(3, 2)
    side = timing.Side(layer, [torch.randn(4, 3, requires_grad=True)])
    forward, both = side.run()
    assert 0 < forward < both
    assert layer.weight.grad is None  # nothing piles up


def test_the_clock_waits_for_the_device_that_computes(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    for name in ("cpu", "xpu:1", "mps"):
        timing.timer(torch.device(name))
    assert waited == [torch.device("xpu:1"), torch.device("mps")]


def test_the_mean_counts_a_row_as_often_as_its_network_does():
    assert geometric_mean([(2.0, 1), (8.0, 1)]) == pytest.approx(4)
    assert geometric_mean([(1.0, 3), (16.0, 1)]) == pytest.approx(2)
    assert geometric_mean([(0.0, 1), (1.0, 1)]) == 0
