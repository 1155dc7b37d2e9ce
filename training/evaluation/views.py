"""Larger images than a network was trained on: crops of them, or every place in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from analysis.dense import Dense, cost
from analysis.surgery import SurgeryError

from ..errors import UserError
from ..options import Options


@dataclass(frozen=True)
class Views:
    """How images are looked at: once, as in training; as several crops; or densely."""

    image_size: int | None = None  # pixels; None: as in training
    crops: int = 1
    dense: bool = False
    shifts: int = 1  # passes of dense evaluation in each direction

    def check(self, window: int) -> None:
        """That images of this size can be looked at so by a network of that window.

        Raises:
            UserError: they cannot.
        """
        if self.dense and self.crops > 1:
            raise UserError("--dense looks at every place, --crops at some: give one of them")
        if self.shifts > 1 and not self.dense:
            raise UserError("--shifts is for --dense")
        if self.image_size is not None and self.image_size < window:
            raise UserError(
                f"--image-size {self.image_size} is smaller than the network, which was trained on "
                f"{window} x {window} pixels: give {window} or more"
            )

    def size(self, options: Options) -> int:
        """Pixels of the images that are read."""
        return self.image_size or options.image_size

    def network(self, model: torch.nn.Module, options: Options) -> torch.nn.Module:
        """From such images to logits.

        Raises:
            UserError: the network cannot slide.
        """
        if self.dense:
            try:
                return Dense(model, _window(options), self.shifts)
            except SurgeryError as error:
                raise UserError(f"--dense: {error}") from None
        if self.crops == 1 and self.size(options) == options.image_size:
            return model
        return CropAverage(model, options.image_size, self.crops)

    def described(self, model: torch.nn.Module, options: Options) -> dict[str, Any] | None:
        """For a program; None for a single look as in training."""
        if not self.dense:
            one = self.crops == 1 and self.size(options) == options.image_size
            return None if one else {"image_size": self.size(options), "crops": self.crops}
        found = cost(model, _window(options), self.size(options), self.shifts)
        return {"image_size": self.size(options), **found._asdict(), "saving": str(found)}


AS_TRAINED = Views()


def _window(options: Options) -> tuple[int, int, int]:
    return len(options.mean), options.image_size, options.image_size


class CropAverage(torch.nn.Module):
    """The mean of a network's probabilities over crops of its size, as logarithms.

    One crop is the centre; five are the corners, too; ten are these and their mirror images
    (Krizhevsky et al. 2012, section 4.1).
    """

    def __init__(self, model: torch.nn.Module, size: int, crops: int) -> None:
        super().__init__()
        self.model, self.size, self.crops = model, [size, size], crops

    def forward(self, x: Tensor) -> Tensor:
        if self.crops == 1:
            return self.model(functional.center_crop(x, self.size))
        cut = functional.five_crop if self.crops == 5 else functional.ten_crop
        crops = torch.cat(cut(x, self.size))
        logits = self.model(crops).unflatten(0, (self.crops, len(x)))
        return logits.log_softmax(2).logsumexp(0) - torch.tensor(self.crops).log()
