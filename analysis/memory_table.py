"""Peak memory of training steps, predicted and measured: the table of docs/memory.md.

python -m analysis.memory_table                  # all rows, in minutes
python -m analysis.memory_table lenet resnet20   # those of some networks
"""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import NamedTuple

import torch

import layers
import models

from .predicted_memory import Prediction, measure, predict

MIB = 1 << 20
IMAGENET, CIFAR, DIGITS = (3, 224, 224), (3, 32, 32), (1, 32, 32)
STEPS = {  # one network of each family: its images, and two batches
    "lenet": (DIGITS, (64, 256)),
    "alexnet": (IMAGENET, (4, 16)),
    "zfnet": (IMAGENET, (2, 8)),
    "vgg16": (IMAGENET, (1, 4)),
    "googlenet": (IMAGENET, (2, 8)),
    "resnet18": (IMAGENET, (2, 8)),
    "resnet20": (CIFAR, (16, 64)),
    "preact_resnet18": (IMAGENET, (2, 8)),
    "allcnn_c": (CIFAR, (16, 64)),
    "deepface": ((3, 152, 152), (2, 4)),
}
LAYERS = {"ours": layers, "torch.nn": torch.nn}


class Row(NamedTuple):
    name: str
    batch: int
    layers: str  # a key of LAYERS
    measured: int  # bytes
    predicted: Prediction
    seconds: float  # of CPU time, for the prediction

    @property
    def error(self) -> float:
        return self.predicted.peak / self.measured - 1

    def cells(self) -> list[str]:
        sizes = [self.measured, *self.predicted]
        numbers = [f"{size / MIB:.1f}" for size in sizes]
        numbers.insert(2, f"{self.error:+.1%}".replace("-0.0%", "+0.0%"))
        return [self.name, str(self.batch), self.layers, *numbers, f"{self.seconds:.1f}"]


def compare(name: str, batch: int, layer_set: str) -> Row:
    nn, (image, _) = LAYERS[layer_set], STEPS[name]
    build = partial(models.build, name, nn=nn)
    start = time.process_time()
    predicted = predict(build, (batch, *image), nn=nn)
    seconds = time.process_time() - start
    measured = measure(build, (batch, *image), nn=nn)
    return Row(name, batch, layer_set, measured, predicted, seconds)


def main() -> None:
    torch.set_num_threads(1)
    head = [
        "",
        "batch",
        "layers",
        "measured",
        "predicted",
        "error",
        *Prediction._fields[1:],
        "CPU s",
    ]
    print("|", " | ".join(head), "|")
    print("|:--|--:|:--|" + "--:|" * (len(head) - 3))
    for name in sys.argv[1:] or STEPS:
        for batch in STEPS[name][1]:
            for layer_set in LAYERS:
                print("|", " | ".join(compare(name, batch, layer_set).cells()), "|", flush=True)


if __name__ == "__main__":
    main()
