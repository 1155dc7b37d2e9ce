"""From a data set to batches: which images, in which order, read by how many workers.

A batch is (images uint8 (N, C, S, S), classes int64 (N), which images int64 (N)); of several
processes, each has its share of it.
"""

from __future__ import annotations

import signal
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, Subset, default_collate

from ..options import Options
from ..processes.distributed import share, world_size
from ..randomness import epoch_order
from .images import InMemory


def steps_per_epoch(images: int, batch_size: int, smallest: int = 1) -> int:
    """The last batch may be small; one smaller than `smallest` is left out."""
    return images // batch_size + (images % batch_size >= smallest)


def training_batches(
    dataset: Subset,
    options: Options,
    epoch: int,
    *,
    first: int = 0,
    count: int | None = None,
    smallest: int = 1,
    smallest_share: int = 1,
    pin: bool = False,
) -> DataLoader:
    """The batches of an epoch, from number `first` on; those before it are not even read.

    Which images a batch has does not depend on how many processes share it.

    Args:
        epoch: from 1.
        count: batches, at most.
        smallest: a last batch of fewer images is left out.
        smallest_share: a process has as many images of a batch, or none.
        pin: put batches into memory from which a GPU copies while it computes.
    """
    dataset.dataset.position = options.seed, epoch  # type: ignore[attr-defined]
    order = epoch_order(len(dataset), options.seed, epoch)
    batches = order.split(options.batch_size)[first:][:count]
    indices = [
        batch[share(len(batch), smallest_share)].tolist()
        for batch in batches
        if len(batch) >= smallest
    ]
    return _loader(dataset, indices, options.workers, pin)


def evaluation_batches(
    dataset: Subset, batch_size: int, *, workers: int = 0, pin: bool = False
) -> DataLoader:
    """The images of a part in their order, for an evaluation.

    Of several processes, each has a share of the images, and of the batch size; a process that has
    none has one batch without images.
    """
    here, size = range(len(dataset))[share(len(dataset))], -(-batch_size // world_size())
    batches = [list(here[start : start + size]) for start in range(0, len(here), size)]
    return _loader(dataset, batches or [[]] * (world_size() > 1), workers, pin)


def _loader(dataset: Subset, batches: list[list[int]], workers: int, pin: bool) -> DataLoader:
    images: Any = dataset.dataset
    return DataLoader(
        dataset,
        num_workers=workers,
        pin_memory=pin,
        generator=torch.Generator(),  # for the workers; torch's own is dropout's
        collate_fn=_as_it_is if isinstance(images, InMemory) else partial(_stacked, images.shape),
        worker_init_fn=_ignore_signals,
        batch_sampler=batches,
    )


def _ignore_signals(worker: int) -> None:
    """Ctrl-C reaches a worker, too, and torchrun sends SIGTERM to both; the process that it works
    for ends it, at last by a SIGTERM of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def _as_it_is(batch: Any) -> Any:
    return batch


def _stacked(shape: tuple[int, ...], samples: list[Any]) -> Any:
    """A batch of samples (image, class, which image), which may be none."""
    if samples:
        return default_collate(samples)
    none = torch.zeros(0, dtype=torch.int64)
    return torch.zeros(0, *shape, dtype=torch.uint8), none, none
