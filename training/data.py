"""Data sets and their three parts.

Validation is cut from the training images, stratified and seeded; the test images are loaded only
by whoever asks for them (`evaluate.py`, and once at the end of training).

Small sets live in memory as one uint8 array; image folders are decoded by the loader's workers.
Either way a batch is (images uint8 (N, C, S, S), classes int64 (N)); scaling and augmentation are
`Preprocess`, on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.transforms import v2

from .catalog import DATA
from .errors import UserError, unknown
from .options import Options

TORCHVISION: dict[str, tuple[Callable[..., Any], str]] = {  # class, folder inside the root
    "mnist": (torchvision.datasets.MNIST, "MNIST/raw"),
    "fashion_mnist": (torchvision.datasets.FashionMNIST, "FashionMNIST/raw"),
    "cifar10": (torchvision.datasets.CIFAR10, "cifar-10-batches-py"),
    "cifar100": (torchvision.datasets.CIFAR100, "cifar-100-python"),
}


class InMemory(Dataset):
    """Images (N, C, S, S) uint8 and their classes, handed out a batch at a time."""

    def __init__(self, images: Tensor, targets: Tensor, classes: Sequence[str]) -> None:
        self.images, self.targets, self.classes = images, targets, list(classes)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.targets[index]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """What DataLoader calls for a whole batch: one indexing instead of N."""
        return self.images[indices], self.targets[indices]


def load(options: Options, split: str) -> tuple[Subset | InMemory, list[str]]:
    """One part of a data set, and the names of its classes.

    Args:
        split: "train", "val" or "test".
    Raises:
        UserError: unknown data, files missing and not to be downloaded, too few images to split.
    """
    if options.data not in DATA:
        raise unknown("data", options.data, DATA)
    dataset = _whole(options, train=split != "test", augmented=split == "train")
    classes = [str(name).split(" - ")[0] for name in dataset.classes]  # MNIST's "1 - one"
    if split == "test":
        return dataset, classes
    targets = np.asarray(dataset.targets)
    try:
        train, val = train_test_split(
            np.arange(len(targets)),
            test_size=options.val_fraction,
            stratify=targets,
            random_state=options.seed,
        )
    except ValueError as error:
        raise UserError(
            f"{len(targets)} training images cannot be split with --val-fraction "
            f"{options.val_fraction}: {error}"
        ) from None
    return Subset(dataset, (train if split == "train" else val).tolist()), classes


def loader(
    dataset: Dataset, batch_size: int, *, shuffle: bool = False, workers: int = 0, pin: bool = False
) -> DataLoader:
    """Batches of a part.  Shuffling follows torch's global generator, which a checkpoint keeps."""
    whole = dataset.dataset if isinstance(dataset, Subset) else dataset
    return DataLoader(
        dataset,
        batch_size,
        shuffle=shuffle,
        num_workers=workers,
        pin_memory=pin,
        persistent_workers=workers > 0,
        collate_fn=_as_it_is if isinstance(whole, InMemory) else None,
    )


def _as_it_is(batch: Any) -> Any:
    return batch


def _whole(options: Options, *, train: bool, augmented: bool) -> Any:
    if options.data == "digits":
        return _digits(options.image_size, train)
    if options.data == "imagefolder":
        return _image_folder(options, train, augmented)
    dataset = _torchvision(options.data, options.data_root, train)
    images = torch.as_tensor(np.asarray(dataset.data))
    images = images[:, None] if images.dim() == 3 else images.permute(0, 3, 1, 2)
    targets = torch.as_tensor(dataset.targets)
    return InMemory(_fit(images.contiguous(), options.image_size), targets, dataset.classes)


def _digits(image_size: int, train: bool) -> InMemory:
    """1,797 real handwritten digits, 8 x 8 pixels of 0..16; one in five is a test image."""
    digits = load_digits()
    parts = train_test_split(
        digits.images, digits.target, test_size=0.2, stratify=digits.target, random_state=0
    )
    images, targets = (parts[0], parts[2]) if train else (parts[1], parts[3])
    pixels = torch.as_tensor(images * (255 / 16)).round().to(torch.uint8)[:, None]
    return InMemory(_fit(pixels, image_size), torch.as_tensor(targets), list("0123456789"))


def _fit(images: Tensor, size: int) -> Tensor:
    """Bring images to size x size: a few pixels more are background, as in LeCun et al. 1998."""
    margin = size - images.shape[2]
    if 0 <= margin <= 4:
        before, after = margin // 2, margin - margin // 2
        return v2.functional.pad(images, [before, before, after, after])
    return v2.functional.resize(images, [size, size], antialias=True)


def _torchvision(name: str, root: Path, train: bool) -> Any:
    """The data set from its folder, or else downloaded into it."""
    dataset_class, folder = TORCHVISION[name]
    try:
        return dataset_class(root, train=train)
    except RuntimeError:
        pass  # not there yet
    try:
        return dataset_class(root, train=train, download=True)
    except Exception as error:  # whatever a failing network or disk raises
        raise UserError(
            f"{name} is not in {root} and could not be downloaded ({type(error).__name__}): "
            f"on a machine with a connection run the same command, then copy its "
            f"{Path(root.name) / folder} to {root / folder}, or point --data-root to it"
        ) from None


def _image_folder(options: Options, train: bool, augmented: bool) -> Any:
    """ROOT/train is training and validation, ROOT/val is the test set."""
    folder = options.data_root / ("train" if train else "val")
    size = options.image_size
    if augmented and options.augment != "none":
        shape: list[Any] = [v2.RandomResizedCrop(size, antialias=True)]
    else:
        shape = [v2.Resize(round(size * 256 / 224), antialias=True), v2.CenterCrop(size)]
    mode = v2.RGB() if len(options.mean) == 3 else v2.Grayscale()
    try:
        return torchvision.datasets.ImageFolder(
            str(folder), v2.Compose([v2.ToImage(), mode, *shape, v2.ToDtype(torch.uint8)])
        )
    except FileNotFoundError as error:
        raise UserError(
            f"no images for --data imagefolder: expected {folder}/CLASS/*.jpg ({error})"
        ) from None
