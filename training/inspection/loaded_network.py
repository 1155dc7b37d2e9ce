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
from PIL import Image
from torch import Tensor
from torch.utils.data import Subset
from torchvision.transforms import v2

import models
from models import pretrained
from models.pattern import is_pattern

from ..checkpoints import checkpoint
from ..checkpoints.continued import check_weights
from ..data import datasets
from ..data.batches import evaluation_batches
from ..data.catalog import DATA
from ..data.image_files import open_image
from ..data.image_folder import centre
from ..data.preprocess import Preprocess
from ..device import choose_device
from ..errors import UserError, unknown
from ..options import Options
from ..randomness import seed_everything
from ..recipes import RECIPES, in_imagenet_s_units, recipe
from ..train_state import AMP, TrainState, load_model, new_train_state

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
        return f"test image {which}" if which.isdecimal() else Path(which).name

    def sees(self, images: Tensor) -> Tensor:
        """(N, C, S, S) uint8 -> what the network is given, on its device."""
        return self.preprocess(images.to(self.device))

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """(N, C, S, S) uint8 -> (N, scores), on the CPU, computed as for a whole test set."""
        amp = self.options.amp
        autocast = torch.autocast(self.device.type, AMP[amp], enabled=amp != "none")
        with models.computing(self.options.layers), autocast:
            return models.logits(self.model(self.sees(images))).cpu()

    def pixels(self, picture: Image.Image) -> Tensor:
        """(C, S, S) uint8 of a picture: its middle, as an image of the data set would be.

        Of photographs what an image folder's evaluation takes.  Images of other data sets are
        whole, so the largest square in the middle is brought to their size first.
        """
        if self.options.data == "imagefolder":
            return centre(self.options)(picture)
        size = DATA[self.options.data].size
        grey = v2.Grayscale() if len(self.options.mean) == 1 else v2.Identity()
        whole = v2.Compose([grey, v2.Resize(size, antialias=True), v2.CenterCrop(size)])(picture)
        return datasets.fit(v2.functional.pil_to_tensor(whole)[None], self.options.image_size)[0]

    @cached_property
    def test_set(self) -> Subset:
        """
        Raises:
            UserError: there is none, or it cannot be read.
        """
        (dataset,), _ = datasets.load(self.options, "test")
        return dataset

    def batches(self, count: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The first test images (N, C, S, S) uint8, and their numbers (N), so many at a time."""
        part = Subset(self.test_set.dataset, range(count))
        for images, _, which in evaluation_batches(part, batch_size, workers=self.options.workers):
            yield images, which

    def image(self, which: str) -> tuple[Tensor, int | None]:
        """An image file, or a test image by its number: (C, S, S) uint8, and its class if known.

        Raises:
            UserError: no such file or number, or a file that is no image.
        """
        if not which.isdecimal():
            return self.pixels(open_image(which, advice="give another")), None
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
    layers: str | None = "custom",
    memory_format: str | None = None,
) -> LoadedNetwork:
    """
    Args:
        name: a run's folder, a checkpoint, or a network's name or pattern.
        weights: of a network by its name: "random", "imagenet", or a file.
        data_name, data_root: another data set, or folder, than it was trained on; for a network by
            its name, digits or, if it is made for photographs, imagefolder.
        seed: of random weights.
        layers, memory_format: None for those it was trained with.
    Raises:
        UserError: anything the user can mend.
    """
    given: dict[str, Any] = {"data": data_name, "data_root": data_root, "device": device}
    given |= {"layers": layers, "memory_format": memory_format}
    given = {key: value for key, value in given.items() if value is not None}
    if name in RECIPES or is_pattern(name):
        if weights not in ("random", "imagenet") and _is_of_a_run(Path(weights)):
            return load_run(Path(weights), name, **given)  # it says how it was trained, too
        return _named(name, weights, seed, given)
    path = Path(name)
    if not os.path.lexists(path):
        if weights != "random":
            raise unknown("model", name, RECIPES)
        raise UserError(
            f"{name} is neither a run, a checkpoint nor a network: give a folder in runs/, a .pt "
            f"file in it, or one of {', '.join(RECIPES)}"
        )
    if weights != "random":
        raise UserError(f"--weights {weights}: {name} has its own; give a network's name instead")
    return load_run(path, **given)


def load_run(path: Path, name: str | None = None, **changes: Any) -> LoadedNetwork:
    """
    Args:
        path: a run's folder, for its best.pt, or a checkpoint.
        name: of the network that it must be.
        changes: of its options; None leaves one as it was in training.
    Raises:
        UserError: anything the user can mend.
    """
    path = path / "best.pt" if path.is_dir() else path
    options, saved = checkpoint.load(path)
    checkpoint.require(path, saved, "model", "classes", "step")
    if name not in (None, options.model):
        raise UserError(f"{path} has the weights of {options.model}, not of {name}")
    options = replace(options, **{k: v for k, v in changes.items() if v is not None})
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
    if options.weights and name in pretrained.TORCHVISION and options.data == "imagefolder":
        options = in_imagenet_s_units(options)
    device = choose_device(options.device)
    data_is_given = "data" in changes or "data_root" in changes
    classes = _classes(options, data_is_given)
    state, origin = _untrained(options, len(classes), device), f"random, seed {seed}"
    if weights not in ("random", "imagenet") and not data_is_given:
        try:
            count = pretrained.num_classes(state.model, weights)
        except ValueError as error:
            raise UserError(f"--weights {weights}: {error}") from None
        if count != len(classes):
            classes = class_names(count)
            state = _untrained(options, count, device)
    if options.weights:
        origin = state.start_from_weights()
    folder = Path("runs") / ("pattern" if is_pattern(name) else name)
    return LoadedNetwork(
        options, state.model.eval(), state.preprocess, classes, device, folder, origin
    )


def _is_of_a_run(path: Path) -> bool:
    if path.is_dir():
        return True
    try:
        checkpoint.load(path)
    except UserError:  # it may be torchvision's
        return False
    return True


def _untrained(options: Options, classes: int, device: torch.device) -> TrainState:
    """As `set_up` makes it, from the same random numbers."""
    seed_everything(options.seed)
    return new_train_state(options, classes, 1, device, training=False)


def _usual_data(name: str) -> str:
    return "imagefolder" if recipe(name, "imagefolder").image_size > LARGE else "digits"


def _classes(options: Options, data_is_given: bool) -> list[str]:
    """Their names: the data set's, ImageNet's, or numbers."""
    if DATA[options.data].num_classes is not None or data_is_given:
        return datasets.load(options, "test")[1]
    return class_names(1000, known=bool(options.weights))


def class_names(count: int, known: bool = True) -> list[str]:
    """ImageNet's, which torchvision's weights come with, if there are as many; else numbers.

    Args:
        known: the weights know classes, and are not random.
    """
    if count != 1000 or not known:
        return [f"class {number}" for number in range(count)]
    from torchvision.models import ResNet18_Weights  # needed for nothing else

    return ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
