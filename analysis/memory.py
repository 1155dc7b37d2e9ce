"""Memory of a training step: its peak, and what the forward pass saves for the backward pass."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.autograd.profiler import profile

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # silence the profiler's messages on stderr


def peak(run: Callable[[], object], device: torch.device) -> float:
    """Peak bytes allocated during a run after the first one, beyond what was allocated before it.

    On an accelerator, as counted by its allocator; NaN if it does not count.

    On a CPU, torch's allocator reports each allocation to the profiler; the peak is the largest
    running sum.  Memory that a library allocates by itself is not seen, nor are allocations by
    other threads, so the run uses one thread.
    """
    if device.type != "cpu":
        counter = torch.get_device_module(device)
        if not hasattr(counter, "max_memory_allocated"):
            return math.nan
        torch.accelerator.synchronize(device)
        counter.reset_peak_memory_stats(device)
        before = counter.memory_allocated(device)
        run()
        return counter.max_memory_allocated(device) - before
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run()  # one-time allocations do not count
        with profile(profile_memory=True) as trace:
            run()
    finally:
        torch.set_num_threads(threads)
    assert trace.kineto_results is not None
    events = [e for e in trace.kineto_results.events() if e.name() == "[memory]"]
    total = largest = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        total += event.nbytes()
        largest = max(largest, total)
    return largest


def nbytes(tensors: Sequence[Tensor]) -> int:
    return sum(t.nbytes for t in tensors)


def saved_bytes(layer: torch.nn.Module, inputs: Sequence[Tensor]) -> tuple[int, int]:
    """Bytes that a forward pass saves for the backward pass, each storage counted once.

    Returns:
        (without the inputs, with the inputs); parameters are never counted, because they exist
        anyway.
    """
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # avoids a reference cycle between an output and its graph

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        y = layer(*inputs)  # keeps the graph alive, so that no address is reused
    for parameter in layer.parameters():
        storages.pop(parameter.untyped_storage().data_ptr(), None)
    with_inputs = sum(storages.values())
    for tensor in inputs:
        storages.pop(tensor.untyped_storage().data_ptr(), None)
    del y
    return sum(storages.values()), with_inputs
