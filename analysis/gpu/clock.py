"""Times a run in milliseconds, on a GPU with CUDA events."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch

MIN_MILLISECONDS = 10.0  # per reading: shorter runs are repeated
MIN_READINGS = 3


def milliseconds(run: Callable[[], object], device: str, repeat: int = 1) -> float:
    """The mean over `repeat` runs, queued without synchronising, as in a training loop."""
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


def median_milliseconds(run: Callable[[], object], device: str, seconds: float) -> float:
    """The median over readings taken for at least `seconds`, after a warm-up run."""
    run()
    repeat = max(1, round(MIN_MILLISECONDS / milliseconds(run, device))) if seconds else 1
    readings: list[float] = []
    start = time.monotonic()
    while len(readings) < MIN_READINGS or time.monotonic() - start < seconds:
        readings.append(milliseconds(run, device, repeat))
    return median(readings)
