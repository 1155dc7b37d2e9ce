"""Let Triton compile what the networks need, in several processes, before anything is timed.

A kernel is compiled at its first launch, which takes seconds, and kept on disk for every later
process.  One after the other, a network's kernels would take minutes.  Batches are small: of a
batch, a kernel's code depends only on whether it is a multiple of 16.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import torch

import layers

from ..benchmark import MEMORY_FORMATS
from .precision import PRECISION_ORDER, float32_products
from .rows import Row
from .steps import NETWORKS, Network, TrainingStep

BATCH = 16
MAX_PROCESSES = 12


def rows(device: str, tiny: bool) -> list[Row]:
    networks = [n._replace(shape=(n.shape[0], n.tiny, n.tiny)) for n in NETWORKS if n.tiny]
    return [("networks", partial(compile_all, networks[:1] if tiny else NETWORKS, device))]


def compile_all(networks: list[Network], device: str) -> dict[str, Any]:
    """Seconds of each network's first steps, by precision; they run side by side."""
    jobs = [(network, precision) for network in networks for precision in PRECISION_ORDER[:2]]
    processes = min(MAX_PROCESSES, len(jobs), os.cpu_count() or 1)
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        futures = {
            f"{network.name}/{precision}": pool.submit(first_steps, network, precision, device)
            for network, precision in jobs
        }
        return {"seconds of": {name: future.result() for name, future in futures.items()}}


def first_steps(network: Network, precision: str, device: str) -> float:
    """One step in either memory format, and the seconds that took."""
    start = time.monotonic()
    x = torch.randn(BATCH, *network.shape, device=device)
    targets = torch.randint(network.classes, (BATCH,), device=device)
    with float32_products(precision):
        for memory_format in MEMORY_FORMATS.values():
            TrainingStep(network, layers, x, targets, precision, memory_format)()
    if device == "cuda":
        torch.cuda.synchronize()
    return round(time.monotonic() - start, 1)
