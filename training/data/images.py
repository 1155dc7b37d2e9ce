"""What a data set is to the loaders: images and classes by number.

What is random in an image read from a file follows from (seed, epoch, image), see randomness.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset
from torchvision.transforms import v2

from ..options import Options
from ..randomness import IMAGES, drawing_from

Contents = dict[str, list[Any]]  # by class: its number of files, and a digest of their names


class Images(Dataset):
    """Images and their classes, by number; in training each may be changed at random first."""

    targets: Any  # the class of every image
    classes: list[str]
    transform: Callable[[Any], Any] | None = None
    position = (0, 0)  # of training: (seed, epoch)
    contents: Contents | None = None  # of an image folder: what a resumed run must find again

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
        which = torch.as_tensor(indices, dtype=torch.int64)  # none, too
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


def contents(*parts: Subset) -> list[Contents | None]:
    """What a resumed run must find again, of each part."""
    return [part.dataset.contents for part in parts]  # type: ignore[attr-defined]
