"""Which options train which network well on which data: recipes that derive from each other.

A recipe is a function from a data set's name to `Options`; the command line then overrides single
options.  Figures are measured, with seeds and spread, in docs/results.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .catalog import DATA
from .errors import UserError, unknown
from .options import Options


def small(data: str) -> Options:
    """Any small network on any data: SGD with momentum, half a cosine, the data's own scaling."""
    facts = DATA[data]
    return Options(data=data, mean=facts.mean, std=facts.std)


def lenet(data: str) -> Options:
    """Today's LeNet on digits of any kind; photographs are mirrored instead of sheared.

    python train.py --model lenet --data mnist
    """
    options = replace(small(data), model="lenet", lr=0.05, epochs=20, warmup_epochs=1)
    if data == "digits":
        return replace(options, augment="affine", batch_size=32, epochs=40)
    if data == "mnist":
        return replace(options, augment="affine")
    return replace(options, augment="crop-flip")


def lenet5(data: str) -> Options:
    """LeNet-5 of 1998 with the paper's input scaling: paper -0.1, ink 1.175 (section II-B).

    python train.py --model lenet5 --data mnist

    Differs: AdamW for the paper's stochastic diagonal Levenberg-Marquardt; both give every weight
    a step of its own.  Light distortions as in its section III-B, drawn anew in every epoch.
    """
    scale = 1.175 + 0.1
    channels = DATA[data].in_channels
    return replace(
        lenet(data),
        model="lenet5",
        mean=(0.1 / scale,) * channels,
        std=(1 / scale,) * channels,
        optimizer="adamw",
        lr=0.002 if data == "digits" else 0.005,
        weight_decay=0.0,
    )


def pattern(model: str, data: str) -> Options:
    """Any layer pattern (models/pattern.py), on images of the size INPUT names if it names one.

    python train.py --model "INPUT -> [[CONV3-16 -> RELU]*2 -> POOL2]*2 -> [FC64 -> RELU] -> FC"
    """
    from models.pattern import PatternError, parse  # imports torch: only for who asks for one

    try:
        size, _ = parse(model)
    except PatternError as error:
        raise UserError(f"--model: {error}") from None
    options = replace(small(data), model=model, lr=0.01, warmup_epochs=1)
    if data == "digits":
        options = replace(options, batch_size=32)
    if size is None:
        return options
    _, height, width = size
    if height != width:
        raise UserError(f"--model: images are square here, but INPUT says {height}x{width}")
    return replace(options, image_size=height)


RECIPES: dict[str, Callable[[str], Options]] = {"lenet": lenet, "lenet5": lenet5}


def recipe(model: str, data: str) -> Options:
    """The options for a network, or a layer pattern, and a data set.

    Raises:
        UserError: an unknown name of either; says the nearest ones.  A wrong pattern; says where.
    """
    if data not in DATA:
        raise unknown("data", data, DATA)
    if model in RECIPES:
        return RECIPES[model](data)
    from models.pattern import is_pattern

    if is_pattern(model):
        return pattern(model, data)
    raise unknown("model", model, RECIPES)
