"""What the loop of train.py costs beside the plainest one in PyTorch: `make test-slow`."""

import dataclasses
import statistics
import time

import pytest
import torch
from torch.utils.data import Subset

from training.data.batches import training_batches
from training.data.images import InMemory
from training.loop import TrainingPass, train_one_epoch
from training.memory.malloc import keep_freed_memory
from training.randomness import Draws
from training.recipes import recipe
from training.train_state import new_train_state

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
IMAGES, REPEATS = 12_800, 7


class Silent:
    def training_step(self, *described):
        pass


def ours(state, batches, draws):
    train_one_epoch(state, TrainingPass(batches, 1, draws), Silent(), "", log_every=10)


def bare(state, batches, draws):
    model, preprocess = state.model.train(), state.preprocess.train()
    for images, targets, which in batches:
        x = preprocess(images, draws.rows(which, CPU))
        loss = state.criterion(model(x), targets)
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
        state.scheduler.step()
    loss.item()


def seconds(loop, options, images):
    state = new_train_state(options, 10, IMAGES, CPU)
    batches = training_batches(images, options, 1)
    draws = Draws(IMAGES, options.seed, 1)
    start = time.perf_counter()
    loop(state, batches, draws)
    return time.perf_counter() - start


def test_lenet_on_mnist_costs_at_most_five_per_cent_more():
    """Images as the recipe pads them, in turns, median of seven."""
    keep_freed_memory()
    options = dataclasses.replace(recipe("lenet", "mnist"), workers=0)
    pixels = torch.randint(
        256, (IMAGES, 1, options.image_size, options.image_size), dtype=torch.uint8
    )
    targets = torch.randint(10, (IMAGES,))
    images = Subset(InMemory(pixels, targets, list("0123456789")), range(IMAGES))
    for loop in (ours, bare):
        seconds(loop, options, images)  # compiles, allocates
    ratios = [
        seconds(ours, options, images) / seconds(bare, options, images) for _ in range(REPEATS)
    ]
    print("loop / bare loop:", *(f"{ratio:.3f}" for ratio in ratios))
    assert statistics.median(ratios) <= 1.05
