"""A network to be looked at: that of a run or a checkpoint, or one by its name.

It comes with what it was trained with: its classes, its images and how it sees them, and where its
training started from.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset
from torchvision.transforms import v2

from models.pattern import is_pattern
from models.pretrained import TORCHVISION

from . import checkpoint, data
from .catalog import DATA
from .continued import check_weights
from .device import choose_device
from .errors import UserError
from .image_files import open_image
from .options import Options
from .preprocess import Preprocess
from .randomness import seed_everything
from .recipes import RECIPES, recipe
from .train_state import TrainState, load_model, new_train_state

LARGE = 64  # pixels: what sees as many was made for photographs, not for digits


@dataclass
class LoadedNetwork:
    """A network in evaluation mode, and its images."""

    options: Options
    model: torch.nn.Module
    preprocess: Preprocess
    classes: list[str]
    device: torch.device
    folder: Path  # its own, or the one that a run of it would have
    origin: str  # of its weights, in one line
    step: int = 0  # optimiser steps that it was trained for

    @property
    def title(self) -> str:
        """The network and what it was trained on."""
        name = "a pattern" if is_pattern(self.options.model) else self.options.model
        return f"{name} on {self.options.data}" if self.step else name

    def name_of(self, which: str) -> str:
        """An image, as `image` takes it, in words."""
        return f"test image {which}" if which.isdigit() else Path(which).name

    def sees(self, images: Tensor) -> Tensor:
        """(N, C, S, S) uint8 -> what the network is given, on its device."""
        return self.preprocess(images.to(self.device))

    @cached_property
    def test_set(self) -> Subset:
        """
        Raises:
            UserError: there is none, or it cannot be read.
        """
        (dataset,), _ = data.load(self.options, "test")
        return dataset

    def batches(self, count: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The first test images (N, C, S, S) uint8, and their numbers (N), so many at a time."""
        part = Subset(self.test_set.dataset, range(count))
        for images, _, which in data.loader(part, batch_size, workers=self.options.workers):
            yield images, which

    def image(self, which: str) -> tuple[Tensor, int | None]:
        """An image file, or a test image by its number: (C, S, S) uint8, and its class if known.

        Raises:
            UserError: no such file or number, or a file that is no image.
        """
        if not which.isdigit():
            return _square(open_image(which), self.options), None
        if int(which) >= len(self.test_set):
            raise UserError(
                f"--image {which}: {self.options.data} has {len(self.test_set):,} test images, "
                "from 0"
            )
        image, target, _ = self.test_set[int(which)]
        return image, int(target)

    def before_training(self) -> torch.nn.Module:
        """The network as it was before its first step, rebuilt from its seed.

        Raises:
            UserError: it started from weights that are no longer there.
        """
        state = _untrained(self.options, len(self.classes), self.device)
        if self.options.weights:
            state.start_from_weights()
        return state.model.eval()


def load_network(
    name: str,
    *,
    weights: str = "random",
    data_name: str | None = None,
    data_root: Path | None = None,
    seed: int = 0,
    device: str = "auto",
) -> LoadedNetwork:
    """
    Args:
        name: a run's folder, a checkpoint, or a network's name or pattern.
        weights: of a network by its name: "random", "imagenet", or a file.
        data_name, data_root: another data set, or folder, than it was trained on; for a network by
            its name, digits or, if it is made for photographs, imagefolder.
        seed: of random weights.
    Raises:
        UserError: anything the user can mend.
    """
    changes = {"data": data_name, "data_root": data_root, "device": device, "layers": "custom"}
    given = {key: value for key, value in changes.items() if value is not None}
    if name in RECIPES or is_pattern(name):
        return _named(name, weights, seed, given)
    path = Path(name)
    if not os.path.lexists(path):
        raise UserError(
            f"{name} is neither a run, a checkpoint nor a network: give a folder in runs/, a .pt "
            f"file in it, or one of {', '.join(RECIPES)}"
        )
    if weights != "random":
        raise UserError(f"--weights {weights}: {name} has its own; give a network's name instead")
    return _trained(path, given)


def _trained(path: Path, changes: dict[str, Any]) -> LoadedNetwork:
    path = path / "best.pt" if path.is_dir() else path
    options, saved = checkpoint.load(path)
    checkpoint.require(path, saved, "model", "classes", "step")
    options = replace(options, **changes)
    device = choose_device(options.device, getattr(torch, options.dtype))
    state = new_train_state(options, len(saved["classes"]), 1, device, training=False)
    check_weights(saved, state.model, options.model, path)
    load_model(state.evaluated, saved)
    extra = range(len(saved["classes"]), options.num_classes or 0)  # scores without a class
    classes = [*saved["classes"], *(f"class {number}" for number in extra)]
    return LoadedNetwork(
        options, state.evaluated.eval(), state.preprocess, classes, device, path.parent,
        f"from {path}", saved["step"],
    )  # fmt: skip


def _named(name: str, weights: str, seed: int, changes: dict[str, Any]) -> LoadedNetwork:
    options = replace(recipe(name, changes.get("data") or _usual_data(name)), **changes, seed=seed)
    options = replace(options, weights=None if weights == "random" else weights)
    device = choose_device(options.device)
    classes = _classes(options, data_is_given="data" in changes or "data_root" in changes)
    state = _untrained(options, len(classes), device)
    origin = state.start_from_weights() if options.weights else f"random, seed {seed}"
    folder = Path("runs") / ("pattern" if is_pattern(name) else name)
    return LoadedNetwork(
        options, state.model.eval(), state.preprocess, classes, device, folder, origin
    )


def _untrained(options: Options, classes: int, device: torch.device) -> TrainState:
    """As `set_up` makes it, from the same random numbers."""
    seed_everything(options.seed)
    return new_train_state(options, classes, 1, device, training=False)


def _usual_data(name: str) -> str:
    return "imagefolder" if recipe(name, "imagefolder").image_size > LARGE else "digits"


def _classes(options: Options, data_is_given: bool) -> list[str]:
    """Their names: the data set's, ImageNet's, or numbers."""
    if DATA[options.data].num_classes is not None or data_is_given:
        return data.load(options, "test")[1]
    if options.weights == "imagenet" and options.model in TORCHVISION:
        from torchvision.models import get_model_weights  # needed for nothing else

        return get_model_weights(TORCHVISION[options.model])["IMAGENET1K_V1"].meta["categories"]
    return [f"class {number}" for number in range(1000)]


def _square(image: object, options: Options) -> Tensor:
    """The centre of a picture, as an image folder's are cut for evaluation: (C, S, S) uint8."""
    size = options.image_size
    shape = [v2.Resize(round(size * 256 / 224), antialias=True), v2.CenterCrop(size)]
    mode = v2.Grayscale() if len(options.mean) == 1 else v2.Identity()
    to_tensor = v2.ToImage(), mode, *shape, v2.ToDtype(torch.uint8), v2.ToPureTensor()
    return v2.Compose(list(to_tensor))(image)
