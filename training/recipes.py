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


def resnet_cifar(data: str) -> Options:
    """The residual networks of He et al. 2015, section 4.2, with its recipe on CIFAR.

    python train.py --model resnet20 --data cifar10

    On CIFAR: rate 0.1, a tenth of it after half and three quarters of 64,000 steps (164 epochs),
    decay 1e-4, crops and mirror images.  Elsewhere the same rate over one cycle of few epochs.
    """
    options = replace(small(data), model="resnet20", lr=0.1, weight_decay=1e-4, augment="crop-flip")
    if data in ("cifar10", "cifar100"):
        return replace(options, schedule="step", milestones=(0.5, 0.75), epochs=164)
    options = replace(options, schedule="one-cycle", epochs=7, weight_decay=5e-4)
    if data == "mnist":
        return replace(options, augment="affine", image_size=28)
    if data == "digits":
        return replace(options, augment="affine", batch_size=32, epochs=12, image_size=16)
    return options


def allcnn(data: str) -> Options:
    """The all convolutional net of Springenberg et al. 2014, section 3.1.

    python train.py --model allcnn_c --data cifar10

    On CIFAR: 350 epochs, a tenth of the rate after 200, 250 and 300, decay 0.001.  Differs: crops
    and mirror images for their flips and shifts; neither contrast normalisation nor whitening.
    """
    options = replace(resnet_cifar(data), model="allcnn_c", lr=0.05, weight_decay=1e-3)
    if data in ("cifar10", "cifar100"):
        return replace(options, milestones=(200 / 350, 250 / 350, 300 / 350), epochs=350)
    return replace(options, epochs=20 if data == "digits" else 4, weight_decay=5e-4)


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


RECIPES: dict[str, Callable[[str], Options]] = {
    "lenet": lenet,
    "lenet5": lenet5,
    "resnet20": resnet_cifar,
    "allcnn_c": allcnn,
}


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
