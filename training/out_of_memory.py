"""A step too large for the memory, in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .distributed import world_size
from .errors import UserError, is_out_of_memory
from .options import Options


@contextmanager
def out_of_memory(options: Options) -> Iterator[None]:
    """Too large a step is a `UserError` that names the batch that was tried."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch's own is a RuntimeError
        if not is_out_of_memory(error):
            raise
        images = -(-options.batch_size // (options.accumulate * world_size()))
        parts = 2 * options.accumulate
        raise UserError(
            f"out of memory with {images} images at a time, --batch-size {options.batch_size} and "
            f"--accumulate {options.accumulate}: give a smaller --batch-size, or --accumulate "
            f"{parts}, which takes the same steps in half the memory"
        ) from None
