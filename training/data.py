"""Data sets and their three parts.

Validation is cut from the training images, stratified and seeded; the test images are loaded only
by whoever asks for them (`evaluate.py`, and once at the end of training).

Small sets live in memory as one uint8 array; image folders are decoded by the loader's workers.
Either way a batch is (images uint8 (N, C, S, S), classes int64 (N), which images int64 (N)).  What
is random in an image read from a file follows from (seed, epoch, image), see randomness.py; scaling
and the other augmentations are `Preprocess`, on the device.
"""

from __future__ import annotations

import signal
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
from .randomness import IMAGES, drawing_from, epoch_order

TORCHVISION: dict[str, tuple[Callable[..., Any], str]] = {  # class, folder inside the root
    "mnist": (torchvision.datasets.MNIST, "MNIST/raw"),
    "fashion_mnist": (torchvision.datasets.FashionMNIST, "FashionMNIST/raw"),
    "cifar10": (torchvision.datasets.CIFAR10, "cifar-10-batches-py"),
    "cifar100": (torchvision.datasets.CIFAR100, "cifar-100-python"),
}


class Images(Dataset):
    """Images and their classes, by number; in training each may be changed at random first."""

    targets: Any  # the class of every image
    classes: list[str]
    transform: Callable[[Any], Any] | None = None
    position = (0, 0)  # of training: (seed, epoch)

    def changed(self, image: Any, index: int) -> Any:
        """The image after `transform`, whose random numbers are those of the position."""
        if self.transform is None:
            return image
        with drawing_from(*self.position, IMAGES, index):
            return self.transform(image)

    def __len__(self) -> int:
        return len(self.targets)

    def for_part(self, options: Options, augmented: bool) -> Images:
        """The same images as a part of the data set needs them."""
        raise NotImplementedError


class InMemory(Images):
    """Images (N, C, S, S) uint8 and their classes, handed out a batch at a time."""

    def __init__(self, images: Tensor, targets: Tensor, classes: Sequence[str]) -> None:
        self.images, self.targets, self.classes = images, targets, list(classes)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        images, targets, which = self.__getitems__([int(index)])
        return images[0], targets[0], which[0]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """What DataLoader calls for a whole batch: one indexing instead of N."""
        which = torch.as_tensor(indices)
        images = self.images[which]
        if self.transform is not None:
            changed = [self.changed(x, i) for x, i in zip(images, which.tolist(), strict=True)]
            images = torch.stack(changed)
        return images, self.targets[which], which

    def for_part(self, options: Options, augmented: bool) -> InMemory:
        part = InMemory(self.images, self.targets, self.classes)
        if augmented and options.augment == "randaugment":
            part.transform = v2.RandAugment()
        return part


class ImageFiles(Images):
    """An image folder, its files decoded to uint8 (C, S, S) by whoever asks for them."""

    def __init__(self, folder: torchvision.datasets.ImageFolder) -> None:
        self.folder, self.targets, self.classes = folder, folder.targets, folder.classes

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        path, target = self.folder.samples[index]
        return self.changed(_open_image(path), index), target, int(index)

    def for_part(self, options: Options, augmented: bool) -> ImageFiles:
        """A random part of the picture in training, if it is augmented; else its centre."""
        part, size = ImageFiles(self.folder), options.image_size
        if augmented and options.augment != "none":
            shape: list[Any] = [v2.RandomResizedCrop(size, antialias=True)]
        else:
            shape = [v2.Resize(round(size * 256 / 224), antialias=True), v2.CenterCrop(size)]
        mode = v2.Grayscale() if len(options.mean) == 1 else v2.Identity()
        more = [v2.RandAugment()] if augmented and options.augment == "randaugment" else []
        part.transform = v2.Compose(
            [v2.ToImage(), mode, *shape, *more, v2.ToDtype(torch.uint8), v2.ToPureTensor()]
        )
        return part


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
        found.append(Subset(dataset.for_part(options, augmented=part == "train"), indices))
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


def steps_per_epoch(images: int, batch_size: int, smallest: int = 1) -> int:
    """The last batch may be small; one smaller than `smallest` is left out."""
    return images // batch_size + (images % batch_size >= smallest)


def training_batches(
    dataset: Subset,
    options: Options,
    epoch: int,
    *,
    first: int = 0,
    count: int | None = None,
    smallest: int = 1,
    pin: bool = False,
) -> DataLoader:
    """The batches of an epoch, from number `first` on; those before it are not even read.

    Args:
        epoch: from 1.
        count: batches, at most.
        smallest: a last batch of fewer images is left out.
        pin: put batches into memory from which a GPU copies while it computes.
    """
    dataset.dataset.position = options.seed, epoch  # type: ignore[attr-defined]
    order = epoch_order(len(dataset), options.seed, epoch)
    batches = order.split(options.batch_size)[first:][:count]
    indices = [batch.tolist() for batch in batches if len(batch) >= smallest]
    return _loader(dataset, options.workers, pin, batch_sampler=indices)


def loader(dataset: Subset, batch_size: int, *, workers: int = 0, pin: bool = False) -> DataLoader:
    """The images of a part in their order, for an evaluation."""
    return _loader(dataset, workers, pin, batch_size=batch_size)


def _loader(dataset: Subset, workers: int, pin: bool, **batches: Any) -> DataLoader:
    in_memory = isinstance(dataset.dataset, InMemory)
    return DataLoader(
        dataset,
        num_workers=workers,
        pin_memory=pin,
        generator=torch.Generator(),  # for the workers; torch's own is dropout's
        collate_fn=_as_it_is if in_memory else None,
        worker_init_fn=_ignore_interrupts,
        **batches,
    )


def _ignore_interrupts(worker: int) -> None:
    """Ctrl-C reaches a worker, too; the process that it works for ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _as_it_is(batch: Any) -> Any:
    return batch


def _read(options: Options, training: bool) -> Any:
    """The whole training set, or the test set."""
    if options.data == "digits":
        return _digits(options.image_size, training)
    if options.data == "imagefolder":
        return ImageFiles(_image_folder(options.data_root, training))
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
        folders = [torchvision.datasets.ImageFolder(str(root / part)) for part in ("train", "val")]
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
