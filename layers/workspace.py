"""Memory for columns and other intermediates: a little of it, used again and again.

Two megabytes a thread, and four at least, stay in the cache from the copy that fills them to the
product that reads them, and hold enough work that the calls cost little beside it.  They also stay
mapped: memory that is allocated and freed at every call is, for each of its pages, fetched anew
from the operating system, which can cost more than filling it.  For that reason alone, larger
requests are met from kept memory too, which grows to the largest.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor

CPU_WORKSPACE = 2 << 20  # bytes per thread
CUDA_WORKSPACE = 256 << 20  # bytes: a few large products keep a GPU busy
LARGEST_KEPT = 40 << 20  # bytes

_kept = threading.local()  # kernels of different threads never share memory


def workspace_bytes(like: Tensor) -> int:
    return CUDA_WORKSPACE if like.is_cuda else CPU_WORKSPACE * max(2, torch.get_num_threads())


def workspace(like: Tensor, numbers: int) -> Tensor:
    """Uninitialised memory for `numbers` of like's dtype, valid until this thread's next call.

    A request up to `LARGEST_KEPT` is met from memory that is kept.  A GPU keeps its own.
    """
    size = numbers * like.element_size()
    if like.is_cuda or size > LARGEST_KEPT:
        return like.new_empty(numbers)
    kept: Tensor | None = getattr(_kept, "memory", None)
    if kept is None or len(kept) < size:
        with torch.inference_mode(False):  # whoever asks first, everybody may write
            kept = _kept.memory = torch.empty(max(size, workspace_bytes(like)), dtype=torch.uint8)
    return kept[:size].view(like.dtype)
