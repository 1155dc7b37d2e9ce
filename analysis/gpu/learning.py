"""Digits learned with both layer sets by the command that users type: accuracies side by side."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from .rows import Row

NETWORKS = ("lenet", "resnet20")
LAYER_SETS = ("custom", "torch")


def rows(device: str, tiny: bool) -> list[Row]:
    """All runs begin at once: each is too small to fill a GPU."""
    folder = tempfile.TemporaryDirectory()
    more = ["--epochs", "1"] if tiny else []
    made: list[Row] = []
    for network in NETWORKS[: 1 if tiny else None]:
        runs = {}
        for layers in LAYER_SETS:
            command = [
                sys.executable, "train.py", "--model", network, "--data", "digits",
                "--layers", layers, "--device", device, "--logdir", folder.name, "--name",
                f"{network}-{layers}", *more,
            ]  # fmt: skip
            runs[layers] = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        made.append((network, partial(accuracies, network, runs, folder)))
    return made


def accuracies(
    network: str, runs: dict[str, subprocess.Popen], folder: tempfile.TemporaryDirectory
) -> dict[str, Any]:
    """
    Raises:
        RuntimeError: a run failed; the message has its last lines.
    """
    found: dict[str, Any] = {"network": network}
    for layers, process in runs.items():
        output, _ = process.communicate()
        print(output)
        if process.returncode:
            raise RuntimeError(f"train.py --layers {layers}: {output[-280:]}")
        metrics = Path(folder.name, f"{network}-{layers}", "metrics.json")
        found[layers] = json.loads(metrics.read_text())
    return found
