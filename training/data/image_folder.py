"""An image folder: what it must hold, which of its files are images, and the data set made of them.

    ROOT/train/CLASS/*.jpg    training; a part of it is validation if there is no ROOT/test
    ROOT/val/CLASS/*.jpg      the test set; the validation set if there is a ROOT/test
    ROOT/test/CLASS/*.jpg     the test set, if it exists

Hidden files and folders, as editors and file managers leave them, are none of it.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms import v2

from ..errors import UserError
from ..monitor.progress import Progress
from ..options import Options
from .image_files import LEAVE_OUT, open_image, problem
from .images import Contents, Images

NAMED = 5  # files left out, classes that differ: more are counted only


class Folder(torchvision.datasets.ImageFolder):
    """torchvision's, without hidden files."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root), is_valid_file=partial(_is_image, root))

    def find_classes(self, directory: str) -> tuple[list[str], dict[str, int]]:
        names, _ = super().find_classes(directory)
        classes = [name for name in names if not name.startswith(".")]
        return classes, {name: number for number, name in enumerate(classes)}


def _is_image(root: Path, path: str) -> bool:
    is_hidden = any(part.startswith(".") for part in Path(path).relative_to(root).parts)
    return path.lower().endswith(IMG_EXTENSIONS) and not is_hidden


class ImageFiles(Images):
    """The images of a folder, decoded to uint8 (C, S, S) by whoever asks for them."""

    shape: tuple[int, int, int]  # of an image of a part

    def __init__(self, folder: Folder, contents: Contents | None) -> None:
        self.folder, self.targets, self.classes = folder, folder.targets, folder.classes
        self.contents = contents

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, int]:
        path, target = self.folder.samples[index]
        return self.changed(open_image(path), index), target, int(index)

    def for_part(self, options: Options, augmented: bool) -> ImageFiles:
        """A random part of the picture in training, if it is augmented; else its centre."""
        part, size = ImageFiles(self.folder, self.contents), options.image_size
        part.shape = len(options.mean), size, size
        if augmented and options.augment != "none":
            shape = v2.RandomResizedCrop(size, antialias=True)
            more = [v2.RandAugment()] if options.augment == "randaugment" else []
            part.transform = _to_pixels(options, shape, *more)
        else:
            part.transform = centre(options)
        return part


def centre(options: Options) -> Callable[[Any], torch.Tensor]:
    """From a picture to its middle, as evaluations see it: uint8 (C, S, S)."""
    size = options.image_size
    return _to_pixels(
        options, v2.Resize(round(size * 256 / 224), antialias=True), v2.CenterCrop(size)
    )


def _to_pixels(options: Options, *shape: v2.Transform) -> Callable[[Any], torch.Tensor]:
    mode = v2.Grayscale() if len(options.mean) == 1 else v2.Identity()
    return v2.Compose([v2.ToImage(), mode, *shape, v2.ToDtype(torch.uint8), v2.ToPureTensor()])


def has_validation_set(root: Path) -> bool:
    """Whether ROOT/val is the validation set, because ROOT/test is the test set."""
    return os.path.isdir(root / "test")  # noqa: PTH112 - Path.is_dir raises for too long a name


def read(options: Options, part: str) -> ImageFiles:
    """The images of a part: "train" (also what validation is cut from), "val" or "test".

    Raises:
        UserError: folders or images are missing, their classes differ, or there is only one; files
            that cannot be read, unless --on-bad-image skips them.
    """
    root = options.data_root
    names = ("train", "val", "test") if has_validation_set(root) else ("train", "val")
    try:
        folders = {name: Folder(root / name) for name in names}
    except (OSError, ValueError) as error:
        raise UserError(
            f"no images for --data imagefolder: expected {root}/train/CLASS/*.jpg and "
            f"{root}/val/CLASS/*.jpg ({error})"
        ) from None
    classes = folders["train"].classes
    for name, folder in folders.items():
        differing = sorted(set(classes) ^ set(folder.classes))
        if differing:
            raise UserError(
                f"{root}/train and {root}/{name} must have folders of the same names, but "
                f"{', '.join(differing[:NAMED])} is in one of them only"
            )
    if len(classes) < 2:
        raise UserError(
            f"{root}/train has one class only, {classes[0]}: there is nothing to tell apart; "
            "expected a folder for each of two classes or more"
        )
    folder = folders["val" if part == "test" and "test" not in folders else part]
    folder = _without_bad_files(folder, options)
    return ImageFiles(folder, contents(folder))


def _without_bad_files(folder: Folder, options: Options) -> Folder:
    """Look at every file before training does: at its header, or, to skip the bad ones, at all."""
    skip = options.on_bad_image == "skip"
    paths = [path for path, _ in folder.samples]
    reasons = zip(paths, _problems(paths, skip, options.workers), strict=True)
    bad = {path: reason for path, reason in reasons if reason}
    if not bad:
        return folder
    if not skip:
        path, reason = next(iter(bad.items()))
        others = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise UserError(f"{path}{others} cannot be read as an image: {reason}; {LEAVE_OUT}")
    named = ", ".join(f"{path} ({reason})" for path, reason in list(bad.items())[:NAMED])
    more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
    warnings.warn(
        f"{len(bad)} of {len(folder.samples)} files in {folder.root} cannot be read as images and "
        f"are left out: {named}{more}",
        stacklevel=2,
    )
    folder.samples = folder.imgs = [sample for sample in folder.samples if sample[0] not in bad]
    folder.targets = [target for _, target in folder.samples]
    left = set(folder.targets)
    for number, name in enumerate(folder.classes):
        if number not in left:
            raise UserError(f"{folder.root}/{name} has no image that can be read: it needs one")
    return folder


def _problems(paths: list[str], whole: bool, workers: int) -> list[str | None]:
    look = partial(problem, whole=whole)
    if not whole or not workers:
        return [look(path) for path in Progress(paths, len(paths), "looking at the images")]
    with ProcessPoolExecutor(workers) as pool:
        found = pool.map(look, paths, chunksize=64)
        return list(Progress(found, len(paths), "decoding the images"))


def contents(folder: Folder) -> Contents:
    """The number of files in each class, and a digest of their names in order."""
    names: dict[str, list[str]] = {name: [] for name in folder.classes}
    for path, target in folder.samples:
        names[folder.classes[target]].append(Path(path).relative_to(folder.root).as_posix())
    return {
        name: [len(files), hashlib.blake2b("\0".join(files).encode("utf-8", "surrogateescape"),
                                           digest_size=8).hexdigest()]
        for name, files in names.items()
    }  # fmt: skip


def difference(then: Contents, now: Contents) -> str | None:
    """What changed in an image folder, in words; None if nothing did."""
    gone, new = sorted(set(then) - set(now)), sorted(set(now) - set(then))
    changes = [f"class {name} is gone" for name in gone] + [f"class {name} is new" for name in new]
    for name in then:
        if name in now and then[name] != now[name]:
            counts = then[name][0], now[name][0]
            changes.append(
                f"class {name} had {counts[0]} images and has {counts[1]}"
                if counts[0] != counts[1]
                else f"files of class {name} have other names"
            )
    more = f", and {len(changes) - NAMED} more" if len(changes) > NAMED else ""
    return ", ".join(changes[:NAMED]) + more if changes else None
