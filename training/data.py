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
from PIL import Image
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
    whole: dict[bool, Any] = {}  # by whether it is the training set; each is read once
    found = []
    for part in parts:
        training = part != "test"
        if training not in whole:
            whole[training] = _read(options, training)
        dataset = whole[training]
        indices = _split(dataset.targets, options, part) if training else range(len(dataset))
        if isinstance(dataset, torchvision.datasets.ImageFolder):
            dataset = _with_transform(dataset, options, augmented=part == "train")
        found.append(Subset(dataset, indices))
    channels = found[0][0][0].shape[0]
    if channels != len(options.mean):
        raise UserError(
            f"{options.data} has images of {channels} channel(s), but --mean has "
            f"{len(options.mean)} number(s): they must be as many"
        )
    names = next(iter(whole.values())).classes
    return found, [str(name).split(" - ")[0] for name in names]  # MNIST's "1 - one"


def _split(targets: Any, options: Options, part: str) -> list[int]:
    """The training images of a part, as many of each class in proportion."""
    targets = np.asarray(targets)
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
    return (train if part == "train" else val).tolist()


def loader(
    dataset: Subset, batch_size: int, *, shuffle: bool = False, workers: int = 0, pin: bool = False
) -> DataLoader:
    """Batches of a part.  All chance follows torch's global generator, which a checkpoint keeps;
    workers therefore start anew with every epoch."""
    return DataLoader(
        dataset,
        batch_size,
        shuffle=shuffle,
        num_workers=workers,
        pin_memory=pin,
        collate_fn=_as_it_is if isinstance(dataset.dataset, InMemory) else None,
    )


def _as_it_is(batch: Any) -> Any:
    return batch


def _read(options: Options, training: bool) -> Any:
    """The whole training set, or the test set."""
    if options.data == "digits":
        return _digits(options.image_size, training)
    if options.data == "imagefolder":
        return _image_folder(options.data_root, training)
    dataset = _torchvision(options.data, options.data_root, training)
    images = torch.as_tensor(np.asarray(dataset.data))
    images = images[:, None] if images.dim() == 3 else images.permute(0, 3, 1, 2)
    targets = torch.as_tensor(dataset.targets)
    return InMemory(_fit(images.contiguous(), options.image_size), targets, dataset.classes)


def _digits(image_size: int, training: bool) -> InMemory:
    """1,797 real handwritten digits, 8 x 8 pixels of 0..16; one in five is a test image."""
    digits = load_digits()
    parts = train_test_split(
        digits.images, digits.target, test_size=0.2, stratify=digits.target, random_state=0
    )
    images, targets = (parts[0], parts[2]) if training else (parts[1], parts[3])
    pixels = torch.as_tensor(images * (255 / 16)).round().to(torch.uint8)[:, None]
    return InMemory(_fit(pixels, image_size), torch.as_tensor(targets), list("0123456789"))


def _fit(images: Tensor, size: int) -> Tensor:
    """Bring images to size x size: a few pixels more are background, as in LeCun et al. 1998."""
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
    state = "damaged in" if (root / folder).exists() else "not in"
    try:
        return dataset_class(root, train=training, download=True)
    except Exception as error:  # whatever a failing network or disk raises
        raise UserError(
            f"{name} is {state} {root} and could not be downloaded ({type(error).__name__}): "
            f"on a machine with a connection run the same command, then copy its {folder} to "
            f"{root / folder}, or point --data-root to it"
        ) from None


def _image_folder(root: Path, training: bool) -> torchvision.datasets.ImageFolder:
    """ROOT/train is training and validation, ROOT/val is the test set; same classes in both."""
    try:
        folders = [
            torchvision.datasets.ImageFolder(str(root / part), loader=_open_image)
            for part in ("train", "val")
        ]
    except (OSError, ValueError) as error:
        raise UserError(
            f"no images for --data imagefolder: expected {root}/train/CLASS/*.jpg and "
            f"{root}/val/CLASS/*.jpg ({error})"
        ) from None
    train, test = folders
    if train.classes != test.classes:
        differing = sorted(set(train.classes) ^ set(test.classes))
        raise UserError(
            f"{root}/train and {root}/val must have folders of the same names, but "
            f"{', '.join(differing[:5])} is in one of them only"
        )
    return train if training else test


def _open_image(path: str) -> Image.Image:
    try:
        with Image.open(path) as image:  # palettes, CMYK and the like become plain colours
            return image.convert("RGB")
    except OSError as error:
        raise UserError(f"{path} cannot be read as an image: {error}; mend or remove it") from None


def _with_transform(
    folder: torchvision.datasets.ImageFolder, options: Options, augmented: bool
) -> torchvision.datasets.ImageFolder:
    """The same files, decoded to uint8 (C, S, S): a random part of the picture, or its centre."""
    size = options.image_size
    if augmented and options.augment != "none":
        shape: list[Any] = [v2.RandomResizedCrop(size, antialias=True)]
    else:
        shape = [v2.Resize(round(size * 256 / 224), antialias=True), v2.CenterCrop(size)]
    mode = v2.Grayscale() if len(options.mean) == 1 else v2.Identity()
    transform = v2.Compose([v2.ToImage(), mode, *shape, v2.ToDtype(torch.uint8)])
    return torchvision.datasets.ImageFolder(folder.root, transform, loader=_open_image)
