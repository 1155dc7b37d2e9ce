"""One run in several processes: which one this is, what its share is, what all have in common.

Each process has the whole network and a share of every batch; DistributedDataParallel adds up the
gradients, and job.py joins the processes and ends them.  What a function here calls a collective is
called by all processes, in the same order.  In a process on its own none of them does anything.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ..errors import UserError


def is_joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if is_joined() else 0


def local_rank() -> int:
    """The number of this process among those of its machine."""
    return int(os.environ.get("LOCAL_RANK", "0")) if is_joined() else 0


def world_size() -> int:
    """The number of all processes."""
    return dist.get_world_size() if is_joined() else 1


def is_writer() -> bool:
    """Whether this process writes the run's files and speaks for all."""
    return rank() == 0


def device_name(name: str) -> str:
    """The device of this process, of those that --device means.

    Raises:
        UserError: there are fewer than processes.
    """
    found = torch.accelerator.current_accelerator(check_available=True)
    kind = (found.type if found else "cpu") if name == "auto" else name
    if not is_joined() or kind == "cpu":
        return name
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if here > 1 and ":" in kind:
        one = kind.split(":")[0]
        raise UserError(f"--device {kind} is one device for {here} processes: give --device {one}")
    if here > torch.accelerator.device_count():
        raise UserError(
            f"{here} processes need a device each, but this machine has "
            f"{torch.accelerator.device_count()}: start fewer, or give --device cpu"
        )
    return kind if ":" in kind else f"{kind}:{local_rank()}"


def sharers(count: int, smallest: int = 1) -> int:
    """How many processes have a share of so many images, `smallest` at the least; one in any case.

    The others have none.
    """
    return max(1, min(world_size(), count // smallest))


def share(count: int, smallest: int = 1) -> slice:
    """Which of a batch's images are this process's: as many as the others', or one more."""
    with_images = sharers(count, smallest)
    if rank() >= with_images:
        return slice(count, count)
    size, more = divmod(count, with_images)
    start = rank() * size + min(rank(), more)
    return slice(start, start + size + (rank() < more))


def parallel(model: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """What to call instead of the network, for gradients that are the mean of all processes'.

    A collective, as its every call is.
    """
    if not is_joined() or not any(p.requires_grad for p in model.parameters()):
        return model
    devices = None if device.type == "cpu" else [device]
    return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)


def no_sync(forward: Any) -> AbstractContextManager[Any]:
    """Inside the block gradients are added up in this process alone, until a later step outside."""
    return forward.no_sync() if hasattr(forward, "no_sync") else nullcontext()


@torch.no_grad()
def synchronize_buffers(model: torch.nn.Module) -> None:
    """The writer's buffers, such as the running averages of batch normalisation; a collective."""
    if world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def agree(*numbers: int) -> list[int]:
    """The largest of what all processes give, each; a collective, through the processors."""
    if world_size() == 1:
        return list(numbers)
    largest = torch.tensor(numbers, dtype=torch.int64)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return largest.tolist()


def wait_for_all() -> None:
    """Until every process has come here; a collective."""
    agree(0)


def total(numbers: list[float]) -> list[float]:
    """The sums over all processes, each; a collective."""
    if world_size() == 1:
        return numbers
    sums = torch.tensor(numbers, dtype=torch.float64)
    dist.all_reduce(sums)
    return sums.tolist()


def gather(x: Tensor) -> Tensor:
    """The writer's: the rows of all processes, in their order; x elsewhere.  A collective.

    Args:
        x: on the CPU; any number of rows.
    """
    if world_size() == 1:
        return x
    counts = [int(n) for n in total([len(x) * (rank() == r) for r in range(world_size())])]
    padded = x.new_zeros(max(counts), *x.shape[1:])
    padded[: len(x)] = x
    parts = [torch.empty_like(padded) for _ in counts] if is_writer() else None
    dist.gather(padded, parts)
    if parts is None:
        return x
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def gather_objects(thing: Any) -> list[Any]:
    """The writer's: what every process gives, in their order; elsewhere nothing.  A collective."""
    if world_size() == 1:
        return [thing]
    things = [None] * world_size() if is_writer() else None
    dist.gather_object(thing, things)
    return things or []
