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

NETWORKS = {"lenet": 20, "resnet20": 15}  # and epochs, enough to have learned what there is


def rows(device: str, tiny: bool) -> list[Row]:
    """All networks begin at once: each is too small to fill a GPU."""
    folder = tempfile.TemporaryDirectory()
    made: list[Row] = []
    for network, epochs in list(NETWORKS.items())[: 1 if tiny else None]:
        command = [
            sys.executable, "compare.py", "train", network, "--data", "digits", "--device", device,
            "--epochs", str(1 if tiny else epochs), "--output", folder.name,
        ]  # fmt: skip
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        made.append((network, partial(accuracies, network, process, folder)))
    return made


def accuracies(
    network: str, process: subprocess.Popen, folder: tempfile.TemporaryDirectory
) -> dict[str, Any]:
    """By layer set: test_accuracy, seconds of training, and more of `compare.py train`'s.

    Raises:
        RuntimeError: it failed; the message has its last lines.
    """
    output, _ = process.communicate()
    print(output)
    if process.returncode:
        raise RuntimeError(output[-280:])
    (document,) = Path(folder.name).glob(f"{network}-*/train.json")
    return {"network": network} | {
        row.pop("layers"): row for row in json.loads(document.read_text())["rows"]
    }
