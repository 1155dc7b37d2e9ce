"""Memory for columns and other intermediates: a little of it, used again and again.

Four megabytes a thread stay in the cache from the copy that fills them to the product that reads
them, and hold enough work that the calls cost little beside it.  They also stay mapped: memory that
is allocated and freed at every call is, for each of its pages, fetched anew from the operating
system, which can cost more than filling it.  For that reason alone, larger requests are met from
kept memory too, which grows to the largest.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .openmp import num_threads, thread_cache

CPU_WORKSPACE = 4 << 20  # bytes per thread
DEVICE_WORKSPACE = 256 << 20  # bytes: a few large products keep a GPU busy
LARGEST_KEPT = 40 << 20  # bytes


def workspace_bytes(like: Tensor) -> int:
    return min(CPU_WORKSPACE * num_threads(), LARGEST_KEPT) if like.is_cpu else DEVICE_WORKSPACE


def workspace(like: Tensor, numel: int, name: str = "workspace") -> Tensor:
    """Uninitialised memory for `numel` elements of like's dtype, valid until the name's next call.

    On a CPU a request up to `LARGEST_KEPT` is met from memory that this thread keeps; any other
    device has an allocator that keeps its own.
    """
    size = numel * like.element_size()
    if not like.is_cpu or size > LARGEST_KEPT:
        return like.new_empty(numel)
    memory: Tensor | None = thread_cache().get(name)
    if memory is None or len(memory) < size:
        with torch.inference_mode(False):  # whoever asks first, everybody may write
            memory = torch.empty(max(size, workspace_bytes(like)), dtype=torch.uint8)
        thread_cache()[name] = memory
    return memory[:size].view(like.dtype)
