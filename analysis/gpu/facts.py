"""The machine: its software versions, memory bandwidth and matrix product throughput."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import subprocess
from functools import partial
from typing import Any

import torch

from ..names import PRECISIONS
from .clock import median_milliseconds
from .precision import autocast, float32_products
from .rows import Row

SECONDS = 0.3  # of timing, per row


def rows(device: str, tiny: bool) -> list[Row]:
    return [
        ("versions", versions),
        ("machine", lambda: machine(device)),
        ("copy", lambda: copy(device, 1 << (20 if tiny else 28))),
        *((f"product/{p}", partial(product, device, p, 256 if tiny else 8192)) for p in PRECISIONS),
    ]


def versions() -> dict[str, Any]:
    found: dict[str, Any] = {"python": platform.python_version(), "torch": torch.__version__}
    for name in ("torchvision", "triton", "numpy", "numba"):
        try:
            found[name] = importlib.import_module(name).__version__
        except ImportError:
            found[name] = None
    found["cuda"] = torch.version.cuda
    found["cudnn"] = torch.backends.cudnn.version()
    found["commit"] = _output("git", "rev-parse", "--short", "HEAD")
    return found


def machine(device: str) -> dict[str, Any]:
    """Hardware properties; memory in bytes."""
    found: dict[str, Any] = {"cpus": os.cpu_count(), "compiler": shutil.which("gcc")}
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "device": properties.name,
            "multiprocessors": properties.multi_processor_count,
            "memory": properties.total_memory,
            "capability": f"{properties.major}.{properties.minor}",
            "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        }
    return found


def copy(device: str, numbers: int) -> dict[str, Any]:
    """Bandwidth of a float32 copy, reads and writes."""
    a, b = (torch.zeros(numbers, device=device) for _ in range(2))
    ms = median_milliseconds(lambda: b.copy_(a), device, SECONDS if device == "cuda" else 0.0)
    return {"TB/s": 2 * 4 * numbers / ms / 1e9}


def product(device: str, precision: str, size: int) -> dict[str, Any]:
    """Throughput of a product of square matrices, 2 size^3 floating-point operations."""
    a = torch.randn(size, size, device=device)
    if precision == "bf16":
        a = a.bfloat16()
    with float32_products(precision), autocast(precision, device):
        ms = median_milliseconds(lambda: a @ a, device, SECONDS if device == "cuda" else 0.0)
    return {"TFLOP/s": 2 * size**3 / ms / 1e9}


def _output(*command: str) -> str | None:
    """A command's output, or None if it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
