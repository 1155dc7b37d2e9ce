"""Data sets and their three parts.

Validation is cut from the training images, stratified and seeded, unless an image folder has its
own; the test images are read by whoever asks for them (`evaluate.py`, and once at the end of
training), and before training only to see that they can be.

Small sets live in memory as one uint8 array (images.py); image folders are decoded by the loader's
workers (image_folder.py).  batches.py makes batches of either; scaling and most augmentations are
`Preprocess`, on the device.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.utils.data import Subset
from torchvision.transforms import v2

from ..errors import UserError, unknown
from ..memory.machine import check_fits
from ..options import Options
from ..processes.distributed import local_rank, wait_for_all
from . import image_folder
from .catalog import DATA
from .images import Images, InMemory

TORCHVISION: dict[str, tuple[Callable[..., Any], str]] = {  # class, folder inside the root
    "mnist": (torchvision.datasets.MNIST, "MNIST/raw"),
    "fashion_mnist": (torchvision.datasets.FashionMNIST, "FashionMNIST/raw"),
    "cifar10": (torchvision.datasets.CIFAR10, "cifar-10-batches-py"),
    "cifar100": (torchvision.datasets.CIFAR100, "cifar-100-python"),
}


def load(options: Options, *parts: str) -> tuple[list[Subset], list[str]]:
    """Parts of a data set, and the names of its classes.

    Args:
        parts: "train", "val" or "test", each a Subset of the result.
    Raises:
        UserError: unknown data, files missing or damaged, too few images to split, images whose
            channels are not those of --mean.
    """
    if options.data not in DATA:
        raise unknown("data", options.data, DATA)
    has_val = options.data == "imagefolder" and image_folder.has_validation_set(options.data_root)
    whole: dict[str, Images] = {}  # "train", which validation is cut from, "val", "test"
    found = []
    for part in parts:
        source = "train" if part == "val" and not has_val else part
        if source not in whole:
            whole[source] = _read(options, source)
        dataset = whole[source]
        is_cut = source == "train" and not has_val
        indices = _split(dataset, options, part) if is_cut else range(len(dataset))
        found.append(Subset(dataset.for_part(options, augmented=part == "train"), indices))
    channels = found[0][0][0].shape[0]
    if channels != len(options.mean):
        raise UserError(
            f"{options.data} has images of {channels} channel(s), but --mean has "
            f"{len(options.mean)} number(s): they must be as many"
        )
    names = next(iter(whole.values())).classes
    return found, [str(name).split(" - ")[0] for name in names]  # MNIST's "1 - one"


def _split(dataset: Images, options: Options, part: str) -> list[int]:
    """The training images of a part, as many of each class in proportion."""
    targets = np.asarray(dataset.targets)
    check_split(len(targets), np.bincount(targets), dataset.classes, options.val_fraction)
    train, val = train_test_split(
        np.arange(len(targets)),
        test_size=options.val_fraction,
        stratify=targets,
        random_state=options.seed,
    )
    return (train if part == "train" else val).tolist()


def check_split(images: int, counts: np.ndarray, classes: list[str], fraction: float) -> None:
    """That both parts of the training images can have one of each class.

    Raises:
        UserError: with the smallest or the largest --val-fraction that can.
    """
    few = f"{images} training images cannot be split with --val-fraction {fraction:g}"
    if counts.min() < 2:
        raise UserError(
            f"{few}: class {classes[counts.argmin()]} has {counts.min()} image(s), but training "
            "and validation need one each; add images to it"
        )
    held_out, least = math.ceil(fraction * images), len(counts)  # as scikit-learn counts
    if least <= held_out <= images - least:
        return
    smallest = math.ceil(1e4 * least / images) / 1e4
    largest = math.floor(1e4 * (images - least) / images) / 1e4
    bound = f"at least {smallest:g}" if held_out < least else f"at most {largest:g}"
    raise UserError(
        f"{few}: {held_out} for validation and {images - held_out} for training, but both need one "
        f"of each of the {least} classes; give --val-fraction {bound}"
    )


def _read(options: Options, source: str) -> Images:
    """A whole set: "train" or "test", of an image folder also "val"."""
    if options.data == "imagefolder":
        return image_folder.read(options, source)
    if options.data == "digits":
        return _digits(options.image_size, source == "train")
    if local_rank() > 0:
        wait_for_all()  # until the first process of this machine has downloaded it
    dataset = _torchvision(options.data, options.data_root, source == "train")
    if local_rank() == 0:
        wait_for_all()
    images = torch.as_tensor(np.asarray(dataset.data))
    images = images[:, None] if images.dim() == 3 else images.permute(0, 3, 1, 2)
    targets = torch.as_tensor(dataset.targets)
    return InMemory(fit(images.contiguous(), options.image_size), targets, dataset.classes)


def _digits(image_size: int, training: bool) -> InMemory:
    """1,797 real handwritten digits, 8 x 8 pixels of 0..16; one in five is a test image."""
    digits = load_digits()
    parts = train_test_split(
        digits.images, digits.target, test_size=0.2, stratify=digits.target, random_state=0
    )
    images, targets = (parts[0], parts[2]) if training else (parts[1], parts[3])
    pixels = torch.as_tensor(images * (255 / 16)).round().to(torch.uint8)[:, None]
    return InMemory(fit(pixels, image_size), torch.as_tensor(targets), list("0123456789"))


def fit(images: Tensor, size: int) -> Tensor:
    """Bring images to size x size: a few pixels more are background, as in LeCun et al. 1998."""
    check_fits(
        images[:, :, 0, 0].numel() * size**2,
        f"{len(images):,} images of {size} x {size} pixels",
        "give a smaller --image-size",
    )
    margin = size - images.shape[2]
    if 0 <= margin <= 4:
        before, after = margin // 2, margin - margin // 2
        return v2.functional.pad(images, [before, before, after, after])
    return v2.functional.resize(images, [size, size], antialias=True)


def _torchvision(name: str, root: Path, training: bool) -> Any:
    """The data set from its folder, or else downloaded into it."""
    dataset_class, folder = TORCHVISION[name]
    try:
        return dataset_class(root, train=training)
    except Exception:  # not there yet, or not whole: torchvision complains in many ways
        pass
    has_files = any(files for *_, files in os.walk(root / folder))  # a try leaves empty folders
    state = "damaged in" if has_files else "not in"
    try:
        return dataset_class(root, train=training, download=True)
    except Exception as error:  # whatever a failing network or disk raises
        raise UserError(
            f"{name} is {state} {root} and could not be downloaded ({type(error).__name__}): "
            f"on a machine with a connection run the same command, then copy its {folder} to "
            f"{root / folder}, or point --data-root to it"
        ) from None
