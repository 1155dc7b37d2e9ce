"""What a run leaves for a reader beside its checkpoints: its surroundings, and a line per epoch."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import json
import platform
import subprocess
from pathlib import Path

import torch

from ..checkpoints.files import write_text
from ..processes.distributed import world_size
from .metrics import Evaluation, Metrics

PACKAGES = ("torch", "torchvision", "numpy", "numba", "triton")
COLUMNS = (
    "epoch", "step", "train_loss", "train_acc1", "val_loss", "val_acc1", "val_acc5", "lr",
    "images_per_second",
)  # fmt: skip


def write_environment(folder: Path, device: torch.device) -> None:
    """environment.json: versions, device, processes, threads, and the commit of this code, if it
    has one."""
    environment = {
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "device": str(device),
        "device_name": _device_name(device),
        "processes": world_size(),
        "threads": torch.get_num_threads(),
        "git_commit": _commit(),
    }
    write_text(folder / "environment.json", json.dumps(environment, indent=2) + "\n")


def other_threads(folder: Path) -> int | None:
    """The threads a run was trained with before, if they are not those of this process: sums are
    then rounded in another order."""
    try:
        before = json.loads((folder / "environment.json").read_text())["threads"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return before if before != torch.get_num_threads() else None


def write_epoch(
    folder: Path, epoch: int, step: int, trained: Metrics, seen: Evaluation, lr: float
) -> None:
    """metrics.csv: a line for this epoch, after those before it; later ones are dropped."""
    path = folder / "metrics.csv"
    row = (
        epoch, step, trained.loss, trained.acc1, seen.loss, seen.acc1, seen.accuracy(5), lr,
        round(trained.images_per_second, 1),
    )  # fmt: skip
    lines = path.read_text().splitlines() if path.exists() else []
    before = [line.split(",") for line in lines[1:] if int(line.split(",")[0]) < epoch]
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([COLUMNS, *before, row])
    write_text(path, table.getvalue())


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """Of the repository that this file is in."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=Path(__file__).parent, capture_output=True, text=True, check=False, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
