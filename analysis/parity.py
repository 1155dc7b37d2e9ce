"""Compares one network made of our layers with the same network made of torch.nn's.

Both start from the same weights and see the same images; errors, times and memory are compared.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass, field

import torch

import layers
import models

from . import accuracy, memory
from .benchmark_config import BenchmarkConfig
from .names import OURS, REFERENCE, THEIRS
from .reference import ReferenceStep, few_rounds
from .step import Batch, TrainingStep
from .timing import Ratio, Times, interleave

STEPS = 20  # training steps whose losses are compared
DEFAULT_MODELS = (  # one of each family
    "lenet", "lenet5", "alexnet", "zfnet", "vgg16", "googlenet", "resnet18", "resnet50", "allcnn_c",
    "deepface",
)  # fmt: skip
IMAGE_SIZES = {"deepface": 72}  # pixels; at 152 its 120 million untied weights take minutes
SMALL_IMAGE = 64  # pixels
SMALL_IMAGE_BATCH, LARGE_IMAGE_BATCH = 128, (4, 16)  # images; the least and the most
SAVED_BYTES = 256 << 20  # per step, from which the batch of large images is derived


@dataclass
class Parity:
    """Of one network; errors are relative to the largest magnitude in the tensor."""

    name: str
    shape: tuple[int, ...]  # of a batch of images
    exact: float  # the largest of logits and gradients, ours against torch.nn's, both in float64
    logits: dict[str, float]  # by side, against torch.nn's in float64
    gradients: dict[str, float]  # the same, all gradients as one vector
    # Of the losses of `STEPS` training steps against torch.nn's: ours, and torch.nn's own in the
    # other memory format, which rounds differently.
    losses: dict[str, float]
    times: dict[str, Times]  # of a training step: forward pass with the loss, and total
    peak: dict[str, float]  # bytes at the peak of a training step
    note: str = ""
    # Times of ours by the definitions in layers/ops/ alone, and of the others in the same rounds.
    # Its errors and peak are among those above; `within` does not check them.
    reference: dict[str, Times] = field(default_factory=dict)

    def within(self, tolerance: float) -> bool:
        """Whether every error is allowed; NaN is not.  See `accuracy.NETWORK_TOLERANCE`."""
        pairs = (self.logits, self.gradients, self.losses)
        bounds = [max(tolerance, accuracy.MAX_ERROR_RATIO * pair[THEIRS]) for pair in pairs]
        within = all(p[OURS] <= bound for p, bound in zip(pairs, bounds, strict=True))
        return within and self.exact <= accuracy.NETWORK_TOLERANCE[torch.float64]

    @property
    def ratio(self) -> Ratio:
        return Ratio.of(self.times[OURS].total, self.times[THEIRS].total)


def compare(
    name: str,
    config: BenchmarkConfig,
    batch_size: int | None = None,
    image_size: int | None = None,
    num_classes: int | None = None,
) -> Parity:
    """Build the network twice with the same weights, and train both on the same random images.

    Args:
        name: a key of `models.MODELS`.
        config: half precision runs under torch.autocast.
        batch_size: images per step; None for 128 small images, or for 4 to 16 large ones, as many
            as a step can save in 256 MiB.
        image_size, num_classes: None for the network's defaults; `deepface` is compared at 72
            pixels.
    Raises:
        ValueError: the image is too small.
    """
    image_size = image_size or IMAGE_SIZES.get(name)
    given = {"image_size": image_size, "num_classes": num_classes}
    options = {option: value for option, value in given.items() if value is not None}
    torch.manual_seed(0)
    ours, theirs = (models.build(name, nn=nn, **options) for nn in (layers, torch.nn))
    theirs.load_state_dict(ours.state_dict())
    pixels = image_size or _default(ours, "image_size")
    image = (_default(ours, "in_channels"), pixels, pixels)
    shape = (batch_size or _batch_size(ours, image), *image)
    batch = Batch(config, shape, num_classes or _default(ours, "num_classes"))
    steps = {OURS: TrainingStep(ours, layers, batch), THEIRS: TrainingStep(theirs, torch.nn, batch)}
    if config.reference:
        steps[REFERENCE] = ReferenceStep(copy.deepcopy(ours), layers, batch)

    note, errors = "", _errors(steps)
    if dropouts(ours) and not max(errors[1].values()) <= accuracy.NETWORK_TOLERANCE[config.dtype]:
        # The same seed can give different masks: on a GPU, in another memory format, or compiled.
        for dropout in dropouts(*(step.network for step in steps.values())):
            dropout.p = 0.0
        note, errors = "without dropout, whose masks differ here", _errors(steps)
    losses = _losses(steps)
    steps[THEIRS].use_the_faster_memory_format()
    required = {side: steps[side] for side in (OURS, THEIRS)}
    return Parity(
        name, shape, *errors, losses, interleave(required, config.seconds),
        {side: step.peak() for side, step in steps.items()}, note,
        few_rounds({REFERENCE: steps[REFERENCE], **required}) if config.reference else {},
    )  # fmt: skip


def _errors(steps: dict[str, TrainingStep]) -> tuple[float, dict[str, float], dict[str, float]]:
    """The fields `exact`, `logits` and `gradients` of `Parity`."""
    found = {side: step.derivatives() for side, step in steps.items()}
    exact = {side: steps[side].in_float64().derivatives() for side in (OURS, THEIRS)}
    logits, gradients = exact[THEIRS]
    largest = max(g.abs().max().item() for g in gradients.values() if g is not None)
    # Some gradients are zero up to rounding, such as that of a bias before batch normalisation.
    errors = accuracy.errors(exact[OURS][1], gradients, least=1e-6 * largest)
    errors["logits"] = accuracy.error(exact[OURS][0], logits)
    return (
        accuracy.worst(errors),
        {side: accuracy.error(found[side][0], logits) for side in steps},
        {side: accuracy.distance(found[side][1], gradients) for side in steps},
    )


def _losses(steps: dict[str, TrainingStep]) -> dict[str, float]:
    """Train, and give the field `losses` of `Parity`."""
    other = steps[THEIRS].in_the_other_memory_format()
    theirs, ours, rounded_differently = (
        torch.tensor([step(seed) for seed in range(STEPS)])
        for step in (steps[THEIRS], steps[OURS], other)
    )
    return {
        OURS: accuracy.error(ours, theirs),
        THEIRS: accuracy.error(rounded_differently, theirs),
    }


def _default(network: torch.nn.Module, option: str) -> int:
    """The default of an option of the network's class."""
    return inspect.signature(type(network)).parameters[option].default


def _batch_size(model: torch.nn.Module, image: tuple[int, ...]) -> int:
    """The default number of images, a power of two."""
    if image[-1] <= SMALL_IMAGE:
        return SMALL_IMAGE_BATCH
    least, most = LARGE_IMAGE_BATCH
    _, per_image = memory.saved_bytes(copy.deepcopy(model).eval(), [torch.zeros(1, *image)])
    fits = min(most, max(least, SAVED_BYTES // per_image))
    return 1 << (fits.bit_length() - 1)


def dropouts(*networks: torch.nn.Module) -> list[torch.nn.Dropout]:
    """All dropout layers with a nonzero probability."""
    modules = (module for network in networks for module in network.modules())
    return [module for module in modules if isinstance(module, torch.nn.Dropout) and module.p]
