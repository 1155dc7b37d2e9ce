"""A step too large for the memory, or a worker that was killed for it, in a sentence."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch

import models

from ..device import MEMORY_FORMATS
from ..errors import UserError, is_out_of_memory, lost_worker
from ..options import Options
from ..processes.distributed import world_size
from ..train_state import AMP, TrainState
from . import machine


@contextmanager
def out_of_memory(options: Options, state: TrainState | None = None) -> Iterator[None]:
    """Too large a step is a `UserError` that names the batch that was tried; so is the loss of a
    process that loads images.

    Args:
        state: what is trained, if the largest batch that fits is to be named, too: predicted for
            the memory that is free before the first step.
    """
    available = None if state is None else _available(state)
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch's own is a RuntimeError
        if lost := lost_worker(error):
            raise UserError(
                f"{lost} with --workers {options.workers}: give fewer, a smaller --batch-size, or "
                "more shared memory (/dev/shm); --resume goes on from the last checkpoint"
            ) from None
        if not is_out_of_memory(error):
            raise
        images = -(-options.batch_size // (options.accumulate * world_size()))
        parts = 2 * options.accumulate
        advice = (
            f"out of memory with {images} images at a time, --batch-size {options.batch_size} and "
            f"--accumulate {options.accumulate}: give a smaller --batch-size, or --accumulate "
            f"{parts}, which takes the same steps in half the memory"
        )
        if state is not None and available is not None:
            advice += _prediction(options, state, images, available)
        raise UserError(advice) from None


def _available(state: TrainState) -> int | None:
    """Bytes that a step may take, those that its weights have already taken among them."""
    free = machine.free(state.device)
    kept = [v for each in state.optimizer.state.values() for v in each.values()]
    tensors = [*state.model.parameters(), *state.model.buffers(), *kept]
    return None if free is None else free + sum(t.nbytes for t in tensors if torch.is_tensor(t))


def _prediction(options: Options, state: TrainState, tried: int, available: int) -> str:
    """What to add to the advice: the largest batch that fits, if that can be predicted."""
    try:
        from analysis.predicted_memory import largest_batch  # of no use to a run that fits

        largest = largest_batch(
            state.model,
            (len(options.mean), options.image_size, options.image_size),
            available,
            most=tried - 1,
            optimizer=options.optimizer,
            dtype=AMP[options.amp] if options.amp != "none" else getattr(torch, options.dtype),
            memory_format=MEMORY_FORMATS[state.memory_format],
            nn=models.LAYER_SETS[options.layers],
        ).size
    except Exception as error:  # the advice is good without it
        logging.getLogger(__name__).debug("no prediction", exc_info=error)
        return ""
    if not largest:
        return f". By prediction not even one fits the {available / 1e9:.1f} GB that there are"
    together = largest * world_size()  # on all processes
    return (
        f". By prediction {largest} at a time fit the {available / 1e9:.1f} GB that there are: "
        f"--batch-size {together}, or --accumulate {-(-options.batch_size // together)}"
    )
