"""Random numbers as a function of where training stands, never of what was drawn before.

The order of an epoch follows from (seed, epoch), a change to an image from (seed, epoch, image), a
mixture of a batch from (seed, epoch, step).  So a run that is resumed at any step draws what it
would have drawn, whatever the number of workers; dropout alone draws from torch's own generator,
whose state a checkpoint keeps.  Of several processes, each mixes its own share of a batch, and has
a generator for dropout of its own; all else does not depend on their number.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

ORDER, IMAGES, MIXTURE, DROPOUT = range(4)  # what is drawn


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def seed_of(*position: int) -> int:
    """A seed for a position, such as (seed, epoch, IMAGES, image): other positions have others."""
    return int(np.random.SeedSequence(position).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(*position: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of(*position))


@contextlib.contextmanager
def drawing_from(*position: int) -> Iterator[None]:
    """Inside the block torch's CPU generator starts from a position; after it, it is as before.

    For what draws from no other generator, as torchvision's transforms.
    """
    before = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed_of(*position))
    try:
        yield
    finally:
        torch.default_generator.set_state(before)


def epoch_order(images: int, seed: int, epoch: int) -> Tensor:
    """The order in which an epoch takes the images, (images) int64."""
    return torch.randperm(images, generator=generator(seed, epoch, ORDER))


class Draws:
    """Random numbers for every image of an epoch, a row each: what `Preprocess` augments with."""

    COLUMNS = 8  # as many as any augmentation takes

    def __init__(self, images: int, seed: int, epoch: int) -> None:
        chance = generator(seed, epoch, IMAGES)
        self.uniform = torch.rand(images, self.COLUMNS, generator=chance)  # in [0, 1)
        self.normal = torch.randn(images, 3, generator=chance)

    def rows(self, images: Tensor, device: torch.device) -> Draws:
        """Those of some images, on a device."""
        rows = object.__new__(Draws)
        rows.uniform, rows.normal = (
            table[images].to(device, non_blocking=True) for table in (self.uniform, self.normal)
        )
        return rows
