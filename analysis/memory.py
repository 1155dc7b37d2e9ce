"""Memory of a training step: its peak, and what the forward pass keeps for the backward pass."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.autograd.profiler import profile

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler announces itself on stderr


def peak(run: Callable[[], object], device: torch.device) -> float:
    """Bytes allocated at once during a run that is not the first, beside what was there before.

    On an accelerator they are what its allocator counts; NaN if it does not count them.

    On a CPU, torch's allocator reports every allocation to the profiler; the peak is the largest
    running sum.  What a library allocates behind torch's back is not seen; nor is what another
    thread allocates, so that the run has one.
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
        run()  # a first time, because what is allocated only once does not count
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


def bytes_of(tensors: Sequence[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def kept(layer: torch.nn.Module, inputs: Sequence[Tensor]) -> tuple[int, int]:
    """Bytes that a forward pass keeps for the backward pass, each piece of memory once.

    Returns:
        (beside the input and the parameters, with the input); parameters never count, they are
        there anyway.
    """
    pieces: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        pieces[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # an output that kept itself would never be freed

    with saved_tensors_hooks(note, lambda tensor: tensor):
        y = layer(*inputs)  # the graph holds what it keeps, so no address is used twice
    for parameter in layer.parameters():
        pieces.pop(parameter.untyped_storage().data_ptr(), None)
    everything = sum(pieces.values())
    for tensor in inputs:
        pieces.pop(tensor.untyped_storage().data_ptr(), None)
    del y
    return sum(pieces.values()), everything
