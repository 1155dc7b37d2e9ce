"""The learning rate over time."""

import dataclasses
import math

import pytest
import torch

from tests.training.curves import rates
from training.errors import UserError
from training.recipes import recipe
from training.schedule import scheduler
from training.train_state import new_train_state


def test_schedules():
    step = rates(schedule="step", epochs=4, milestones=(0.5, 0.75), warmup_epochs=0)
    assert step == pytest.approx([1] * 20 + [0.1] * 10 + [0.01] * 10)
    cosine = rates(schedule="cosine", epochs=2, warmup_epochs=0)
    assert cosine == pytest.approx([0.5 * (1 + math.cos(math.pi * i / 20)) for i in range(20)])
    warm = rates(schedule="cosine", epochs=2, warmup_epochs=1)
    assert warm[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert warm[10] == 1
    assert warm[-1] < 0.1


@pytest.mark.parametrize("schedule", ["step", "cosine", "one-cycle"])
@pytest.mark.parametrize("warmup_epochs", [0, 1, 2, 3])
def test_every_schedule_survives_its_last_step(schedule, warmup_epochs):
    found = rates(schedule=schedule, epochs=2, warmup_epochs=warmup_epochs)
    assert all(0 <= rate <= 1 for rate in found)


def test_one_cycle_is_torch_s():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1.0, total_steps=1001, cycle_momentum=False
    )
    expected = []
    for _ in range(1000):
        expected.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    ours = rates(schedule="one-cycle", epochs=100, warmup_epochs=0)
    assert ours == pytest.approx(expected, abs=4e-3)


@pytest.mark.parametrize("schedule", ["step", "cosine", "one-cycle"])
def test_the_rate_does_not_fall_below_its_minimum(schedule):
    """It is a part of --lr, which is not the 1 of these curves."""
    options = dict(schedule=schedule, epochs=4, milestones=(0.25, 0.5), warmup_epochs=0, lr=0.5)
    free, bounded = rates(**options), rates(**options, min_lr=0.02)
    assert min(free) < 0.04
    assert bounded == pytest.approx([max(0.04, rate) for rate in free])


def test_limited_steps_are_the_whole_schedule():
    limited = rates(schedule="cosine", epochs=2, warmup_epochs=0, limit_steps=10)
    assert limited[:10] == pytest.approx(
        [0.5 * (1 + math.cos(math.pi * i / 10)) for i in range(10)]
    )


def test_the_least_rate_is_the_head_s_too():
    """--min-lr is a rate, and not a part of each group's highest."""
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": parameters[:1], "lr": 0.1}, {"params": parameters[1:], "lr": 1.0}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    options = dataclasses.replace(
        recipe("lenet", "digits"), lr=0.1, head_lr=1.0, min_lr=0.01, warmup_epochs=0, epochs=2
    )
    schedule = scheduler(optimizer, options, 10)
    for _ in range(20):
        optimizer.step()
        schedule.step()
    assert schedule.get_last_lr() == pytest.approx([0.01, 0.01])
    with pytest.raises(UserError, match=r"--min-lr 0\.01 is more than --head-lr 0\.001"):
        dataclasses.replace(options, head_lr=0.001).check()


def test_the_whole_schedule_is_over_the_steps_that_are_taken():
    """A last batch of one image, which batch normalisation cannot train with, is no step."""
    options = dataclasses.replace(
        recipe("resnet20", "digits"), batch_size=8, epochs=1, schedule="cosine", image_size=8
    )
    state = new_train_state(options, 10, 33, torch.device("cpu"))
    factor = state.scheduler.lr_lambdas[0]
    assert [factor(step) for step in (0, 2, 4)] == pytest.approx([1, 0.5, 0])


def test_a_network_with_batch_norm_is_evaluated_without_a_training_set():
    """One image is no step of it, and no schedule of no steps is made."""
    options = recipe("resnet20", "digits")
    state = new_train_state(options, 10, 1, torch.device("cpu"), training=False)
    assert state.smallest_batch() == 2
