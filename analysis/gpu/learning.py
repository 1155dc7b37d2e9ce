"""Trains networks on digits with both layer sets, by `compare.py train`; accuracies."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from .rows import Row

EPOCHS = {"lenet": 20, "resnet20": 15}  # enough for the accuracy to converge


def rows(device: str, tiny: bool) -> list[Row]:
    runs = TrainingRuns(device, {"lenet": 1} if tiny else EPOCHS)
    return [(network, partial(runs.accuracies, network)) for network in runs.epochs]


class TrainingRuns:
    """`compare.py train` of several networks concurrently: each is too small to fill a GPU."""

    def __init__(self, device: str, epochs: dict[str, int]) -> None:
        self.device, self.epochs = device, epochs
        self.folder = tempfile.TemporaryDirectory()
        self.processes: dict[str, subprocess.Popen] = {}

    def accuracies(self, network: str) -> dict[str, Any]:
        """By layer set: test_accuracy, seconds of training and the rest of train.json's rows.

        The first call starts the training of this network and of those after it; rows are measured
        in order, so those before it have been skipped.

        Raises:
            RuntimeError: the training failed; the message is the end of its output.
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
            "--output", self.folder.name, "--no-reference",
        ]  # fmt: skip
        with self._log(network).open("w") as log:  # an unread pipe would fill up and block
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def _log(self, network: str) -> Path:
        return Path(self.folder.name) / f"{network}.txt"
