"""What is known about each data set before it is loaded."""

from __future__ import annotations

from typing import NamedTuple


class Facts(NamedTuple):
    """Of a data set's images; mean and std are per channel, of pixels scaled to [0, 1]."""

    in_channels: int
    num_classes: int | None  # None: one for each folder found
    size: int  # pixels, of the square images as they come
    mean: tuple[float, ...]
    std: tuple[float, ...]
    about: str


DATA: dict[str, Facts] = {
    "digits": Facts(1, 10, 8, (0.3053,), (0.3760,), "scikit-learn's bundled digits, offline"),
    "mnist": Facts(1, 10, 28, (0.1307,), (0.3081,), "handwritten digits"),
    "fashion_mnist": Facts(1, 10, 28, (0.2860,), (0.3530,), "clothes"),
    "cifar10": Facts(
        3, 10, 32, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), "photographs, 10 classes"
    ),
    "cifar100": Facts(
        3, 100, 32, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762), "photographs, 100 classes"
    ),
    "imagefolder": Facts(
        3, None, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225),
        "your own: ROOT/train/CLASS/*.jpg, ROOT/val/CLASS/*.jpg, perhaps ROOT/test/CLASS/*.jpg",
    ),
}  # fmt: skip
