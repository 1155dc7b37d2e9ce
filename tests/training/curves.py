"""Reading what a run wrote, and what its schedule should have been."""

import dataclasses

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.recipes import recipe
from training.schedule import scheduler


def events(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    return accumulator


def rates(steps=10, **options):
    """The learning rate at every step, as a part of the highest; `steps` in an epoch."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    options = dataclasses.replace(recipe("lenet", "digits"), **options)
    optimizer = torch.optim.SGD([parameter], options.lr)
    schedule = scheduler(optimizer, options, steps)
    found = []
    for _ in range(options.epochs * steps):
        found.append(schedule.get_last_lr()[0] / options.lr)
        optimizer.step()
        schedule.step()
    return found
