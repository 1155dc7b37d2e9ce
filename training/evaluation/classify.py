"""What `evaluate.py RUN IMAGE...` does: the classes that a network gives to image files.

A file that cannot be read costs a sentence, and not the others their answers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..data.image_files import SUFFIXES, Unreadable, read_image
from ..errors import UserError
from ..inspection.loaded_network import LoadedNetwork
from ..monitor.progress import Progress

ANSWERS = 5  # the chapter's top five
LONGEST = 100  # times the shorter side: what is longer is no picture, but fills the memory
LIGHT_ON_DARK = ("digits", "mnist", "fashion_mnist")  # data sets with a black ground


class Answer(NamedTuple):
    name: str
    probability: float  # by the softmax of all scores


@dataclass
class Classified:
    """An image file and its surest classes, the surest first."""

    file: Path
    answers: list[Answer]
    thumbnail: Image.Image  # RGB, upright
    light_ground: bool  # its border is lighter than half grey


@dataclass
class Skipped:
    """A file that is no image that can be read."""

    file: Path
    reason: str


def image_files(paths: Iterable[Path]) -> list[Path]:
    """Files as they are given; of folders, and the folders in them, those with an image's suffix.

    Raises:
        UserError: no such file or folder, or a folder without an image.
    """
    found: list[Path] = []
    for path in paths:
        if not os.path.lexists(path):
            raise UserError(f"there is no file or folder {path}")
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(
            Path(folder, name)
            for folder, folders, names in os.walk(path, onerror=_refuse)
            for name in names
            if name.lower().endswith(SUFFIXES) and not _is_hidden(Path(folder, name), path)
        )
        if not inside:
            raise UserError(
                f"{path} holds no image: expected files such as *{', *'.join(SUFFIXES)}"
            )
        found += inside
    return found


def _refuse(error: OSError) -> None:
    raise UserError(f"{error.filename} cannot be read: {error.strerror}")


def _is_hidden(file: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(root).parts)


class Pictures(Dataset):
    """Files by number, decoded by whoever asks for them."""

    def __init__(
        self, files: Sequence[Path], network: LoadedNetwork, side: int, invert: bool
    ) -> None:
        """
        Args:
            side: of the thumbnails, in pixels.
            invert: swap light and dark.
        """
        self.files, self.network, self.side, self.invert = files, network, side, invert

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Image.Image] | Skipped:
        """What the network takes, uint8 (C, S, S), and a thumbnail."""
        file = self.files[index]
        try:
            picture = read_image(str(file))
        except Unreadable as error:
            return Skipped(file, str(error))
        width, height = picture.size
        if max(width, height) > LONGEST * min(width, height):
            return Skipped(file, f"it is {width} x {height} pixels, which is no picture but a line")
        if self.invert:
            picture = ImageOps.invert(picture)
        pixels = self.network.pixels(picture)
        picture.thumbnail((self.side, self.side))
        return pixels, picture


def has_light_ground(picture: Image.Image) -> bool:
    grey = np.asarray(picture.convert("L").resize((8, 8), Image.Resampling.BOX), np.float64)
    border = np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])
    return bool(border.mean() > 127.5)


def classify(
    network: LoadedNetwork,
    files: Sequence[Path],
    batch_size: int,
    thumbnail_side: int,
    invert: bool = False,
) -> tuple[list[Classified], list[Skipped]]:
    """
    Args:
        files: as `image_files` finds them.
        batch_size: images at a time.
        thumbnail_side: in pixels.
        invert: swap light and dark first.
    Returns:
        both in the order of the files.
    Raises:
        UserError: not one of them can be read.
    """
    pictures = Pictures(files, network, thumbnail_side, invert)
    workers = network.options.workers if len(files) > batch_size else 0
    batches: Any = DataLoader(pictures, batch_size, num_workers=workers, collate_fn=list)
    classified: list[Classified] = []
    skipped: list[Skipped] = []
    done = 0
    for batch in Progress(batches, len(batches), "classifying"):
        names, done = files[done : done + len(batch)], done + len(batch)
        skipped += [found for found in batch if isinstance(found, Skipped)]
        read = [(name, *f) for name, f in zip(names, batch, strict=True) if isinstance(f, tuple)]
        if not read:
            continue
        logits = network.logits(torch.stack([pixels for _, pixels, _ in read]))
        for (name, _, thumbnail), scores in zip(read, logits, strict=True):
            found = answers(scores, network.classes)
            classified.append(Classified(name, found, thumbnail, has_light_ground(thumbnail)))
    if not classified:
        first = skipped[0]
        others = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
        raise UserError(f"{first.file}{others} cannot be read as an image: {first.reason}")
    return classified, skipped


def answers(logits: Tensor, classes: Sequence[str]) -> list[Answer]:
    """The classes of an image's largest logits, (scores), by their softmax.

    A network may give more scores than its data have classes: those have numbers for names.
    """
    probabilities = logits.double().softmax(0)
    values, indices = probabilities.topk(min(ANSWERS, len(logits)))
    return [
        Answer(classes[i] if i < len(classes) else f"class {i}", p)
        for i, p in zip(indices.tolist(), values.tolist(), strict=True)
    ]
