"""`compare.py models`: our layers against torch.nn's over a whole network.

The same numbers from the same weights, and at what price.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass

import torch

import layers
import models

from . import accuracy, memory
from .setting import Setting
from .step import Batch, Step
from .timing import Ratio, Times, interleave

STEPS = 20  # of the trajectory
FAMILIES = (
    "lenet", "lenet5", "alexnet", "zfnet", "vgg16", "googlenet", "resnet18", "resnet50", "allcnn_c",
    "deepface",
)  # fmt: skip
REDUCED = {"deepface": 72}  # pixels, where 120 million untied weights at 152 take minutes
SMALL_IMAGE, MANY, FEW = 64, 128, (4, 16)  # pixels; images per step of small, of large images
BUDGET = 256 << 20  # bytes that one step keeps for its backward pass, if --batch-size is not given


@dataclass
class Parity:
    """Of one network; errors are relative to the largest number of the tensor."""

    name: str
    shape: tuple[int, ...]  # of a batch of images
    exact: float  # of logits and of every gradient, ours against torch.nn's, both in float64
    logits: dict[str, float]  # of "ours" and of "torch.nn", against torch.nn's in float64
    gradients: dict[str, float]  # the same, as one vector
    # Of the losses of `STEPS` training steps, against torch.nn's: ours, and its own from the other
    # layout of memory, which rounds differently.
    losses: dict[str, float]
    times: dict[str, Times]  # of a training step: its forward pass and loss, and all of it
    peak: dict[str, float]  # bytes at the peak of a training step
    note: str = ""

    def within(self, tolerance: float) -> bool:
        """Whether every error is; NaN is not.  See `accuracy.NETWORK`."""
        pairs = (self.logits, self.gradients, self.losses)
        bounds = [max(tolerance, accuracy.AS_THEIRS * pair["torch.nn"]) for pair in pairs]
        within = all(p["ours"] <= bound for p, bound in zip(pairs, bounds, strict=True))
        return within and self.exact <= accuracy.NETWORK[torch.float64]

    @property
    def ratio(self) -> Ratio:
        return Ratio.of(self.times["ours"].both, self.times["torch.nn"].both)


def default_models() -> tuple[str, ...]:
    """One network of each family."""
    return tuple(name for name in FAMILIES if name in models.MODELS)


def compare(
    name: str,
    setting: Setting,
    batch_size: int | None = None,
    image_size: int | None = None,
    num_classes: int | None = None,
) -> Parity:
    """Build the network twice from the same weights, and train both on the same random images.

    Args:
        name: a key of `models.MODELS`.
        setting: half precision is torch.autocast's.
        batch_size: images per step; None for 128 small images, or as many large ones, 4 to 16, as
            one step can keep in 256 MiB.
        image_size, num_classes: None for the network's own; `deepface` is compared at 72 pixels.
    Raises:
        ValueError: the image is too small.
    """
    image_size = image_size or REDUCED.get(name)
    given = {"image_size": image_size, "num_classes": num_classes}
    options = {option: value for option, value in given.items() if value is not None}
    torch.manual_seed(0)
    ours, theirs = (models.build(name, nn=nn, **options) for nn in (layers, torch.nn))
    theirs.load_state_dict(ours.state_dict())
    image = _own(ours, "in_channels"), *2 * [image_size or _own(ours, "image_size")]
    shape = (batch_size or _batch_that_fits(ours, image), *image)
    batch = Batch(setting, shape, num_classes or _own(ours, "num_classes"))
    steps = {"ours": Step(ours, layers, batch), "torch.nn": Step(theirs, torch.nn, batch)}

    note, errors = "", _errors(steps)
    if dropouts(ours) and not max(errors[1].values()) <= accuracy.NETWORK[setting.dtype]:
        # One seed, but two masks: drawn in another order of memory, on a GPU, by torch.compile.
        for dropout in dropouts(ours, theirs):
            dropout.p = 0.0
        note, errors = "without dropout, whose masks differ here", _errors(steps)
    losses = _losses(steps)
    steps["torch.nn"].use_the_faster_layout()
    return Parity(
        name, shape, *errors, losses, interleave(steps, setting.seconds),
        {side: step.peak() for side, step in steps.items()}, note,
    )  # fmt: skip


def _errors(steps: dict[str, Step]) -> tuple[float, dict[str, float], dict[str, float]]:
    """Of everything in float64, and of either's logits and gradients (see `Parity`)."""
    found = {side: step.derivatives() for side, step in steps.items()}
    exact = {side: step.exact().derivatives() for side, step in steps.items()}
    logits, gradients = exact["torch.nn"]
    largest = max(g.abs().max().item() for g in gradients.values() if g is not None)
    # Some gradients are zero, but for roundings: a bias's before batch normalisation.
    errors = accuracy.errors(exact["ours"][1], gradients, least=1e-6 * largest)
    errors["logits"] = accuracy.error(exact["ours"][0], logits)
    return (
        accuracy.worst(errors),
        {side: accuracy.error(found[side][0], logits) for side in steps},
        {side: accuracy.distance(found[side][1], gradients) for side in steps},
    )


def _losses(steps: dict[str, Step]) -> dict[str, float]:
    """Train; how far the losses are from torch.nn's (see `Parity`)."""
    other = steps["torch.nn"].in_the_other_layout()
    theirs, ours, rounded = (
        torch.tensor([step(seed) for seed in range(STEPS)])
        for step in (steps["torch.nn"], steps["ours"], other)
    )
    return {"ours": accuracy.error(ours, theirs), "torch.nn": accuracy.error(rounded, theirs)}


def _own(network: torch.nn.Module, option: str) -> int:
    """What a network's class takes by default."""
    return inspect.signature(type(network)).parameters[option].default


def _batch_that_fits(model: torch.nn.Module, image: tuple[int, ...]) -> int:
    """How many images, a power of two."""
    if image[-1] <= SMALL_IMAGE:
        return MANY
    smallest, largest = FEW
    _, each = memory.kept(copy.deepcopy(model).eval(), [torch.zeros(1, *image)])
    fits = min(largest, max(smallest, BUDGET // each))
    return 1 << (fits.bit_length() - 1)


def dropouts(*networks: torch.nn.Module) -> list[torch.nn.Dropout]:
    """Those that drop anything."""
    modules = (module for network in networks for module in network.modules())
    return [module for module in modules if isinstance(module, torch.nn.Dropout) and module.p]
