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
    runs = TrainingRuns(device, {"lenet": 1} if tiny else NETWORKS)
    return [(network, partial(runs.accuracies, network)) for network in runs.epochs]


class TrainingRuns:
    """`compare.py train` of several networks, side by side: each is too small to fill a GPU."""

    def __init__(self, device: str, epochs: dict[str, int]) -> None:
        self.device, self.epochs = device, epochs
        self.folder = tempfile.TemporaryDirectory()
        self.processes: dict[str, subprocess.Popen] = {}

    def accuracies(self, network: str) -> dict[str, Any]:
        """By layer set: test_accuracy, seconds of training, and more of `compare.py train`'s.

        The first call starts the training of this network and of those after it.  Rows are
        measured in order, so those before it are to be skipped.

        Raises:
            RuntimeError: it failed; the message has its last lines.
        """
        if not self.processes:
            networks = list(self.epochs)
            for name in networks[networks.index(network) :]:
                self.processes[name] = self._start(name)
        code = self.processes[network].wait()
        output = self._log(network).read_text(errors="replace")
        print(output)
        if code:
            raise RuntimeError(output[-280:])
        (document,) = Path(self.folder.name).glob(f"{network}-*/train.json")
        return {"network": network} | {
            row.pop("layers"): row for row in json.loads(document.read_text())["rows"]
        }

    def _start(self, network: str) -> subprocess.Popen:
        command = [
            sys.executable, "compare.py", "train", network, "--data", "digits",
            "--device", self.device, "--epochs", str(self.epochs[network]),
            "--output", self.folder.name,
        ]  # fmt: skip
        with self._log(network).open("w") as log:  # a pipe that nobody reads would fill up
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def _log(self, network: str) -> Path:
        return Path(self.folder.name) / f"{network}.txt"
