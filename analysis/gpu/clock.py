"""Milliseconds of a run, by the GPU's own clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch

BLOCK = 10.0  # milliseconds: what is shorter is repeated between two readings
LEAST = 3  # readings


def milliseconds(run: Callable[[], object], device: str, repeat: int = 1) -> float:
    """Of one run, the mean of several queued one after another, as a training loop queues them."""
    if device != "cuda":
        start = time.perf_counter()
        for _ in range(repeat):
            run()
        return 1e3 * (time.perf_counter() - start) / repeat
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    first.record()
    for _ in range(repeat):
        run()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) / repeat


def typical(run: Callable[[], object], device: str, seconds: float) -> float:
    """The median of readings for as long as this; the first run warms up."""
    run()
    repeat = max(1, round(BLOCK / milliseconds(run, device))) if seconds else 1
    readings: list[float] = []
    start = time.monotonic()
    while len(readings) < LEAST or time.monotonic() - start < seconds:
        readings.append(milliseconds(run, device, repeat))
    return median(readings)
