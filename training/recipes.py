"""Which options train which network well on which data: recipes that derive from each other.

A recipe is a function from a data set's name to `Options`; the command line then overrides single
options.  Figures are measured, with seeds and spread, in docs/results.md.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from . import imagenet_recipes
from .data.catalog import DATA
from .errors import UserError, unknown
from .imagenet_recipes import in_grey_levels
from .options import Options


def small(data: str) -> Options:
    """Any small network on any data: SGD with momentum, half a cosine, the data's own scaling."""
    facts = DATA[data]
    return Options(data=data, mean=facts.mean, std=facts.std)


def one_cycle(data: str) -> Options:
    """A network that needs few epochs, on two CPU cores: up with the rate, and down to nothing."""
    options = replace(small(data), schedule="one-cycle", augment="affine")
    if data == "digits":
        return replace(options, batch_size=32)
    return options if data == "mnist" else replace(options, augment="crop-flip")


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
    if data in ("cifar10", "cifar100"):
        return replace(
            small(data), lr=0.1, weight_decay=1e-4, augment="crop-flip",
            schedule="step", milestones=(0.5, 0.75), epochs=164,
        )  # fmt: skip
    options = replace(one_cycle(data), lr=0.1, epochs=10)
    if data == "mnist":  # 24 pixels halve neatly twice, and are enough for ink 20 pixels high
        return replace(options, image_size=24, epochs=6)
    return options


def allcnn(data: str) -> Options:
    """The all convolutional net of Springenberg et al. 2014, section 3.1.

    python train.py --model allcnn_c --data cifar10

    On CIFAR: 350 epochs, a tenth of the rate after 200, 250 and 300, decay 0.001.  Differs: crops
    and mirror images for their flips and shifts; neither contrast normalisation nor whitening.
    Elsewhere fifteen epochs with AdamW, as the networks of `plain`: with SGD it is still at chance
    after ten epochs of digits.
    """
    options = resnet_cifar(data)
    if data in ("cifar10", "cifar100"):
        return replace(
            options, lr=0.05, weight_decay=1e-3, milestones=(200 / 350, 250 / 350, 300 / 350),
            epochs=350,
        )  # fmt: skip
    options = replace(
        options, optimizer="adamw", lr=1e-3, weight_decay=0.01, image_size=24, epochs=15
    )
    return options if data == "digits" else replace(options, batch_size=64)


def pooled_allcnn(data: str) -> Options:
    """Its sisters with max-pooling, which makes the signal larger: a tenth of SGD's rate."""
    options = allcnn(data)
    return replace(options, lr=0.005) if options.optimizer == "sgd" else options


def residual(data: str) -> Options:
    """The ImageNet networks of He et al. 2015 and 2016.

    python train.py --model resnet18 --data digits
    """
    if data == "imagefolder":
        return imagenet_recipes.resnet()
    return replace(one_cycle(data), lr=0.05, epochs=10)


def plain(data: str) -> Options:
    """ImageNet networks without normalisation, on few small images.

    Differs: AdamW.  Deep ReLU networks from the papers' initialisations stand still for thousands
    of SGD steps, which is nothing on ImageNet and everything on a thousand digits.
    """
    return replace(one_cycle(data), optimizer="adamw", lr=3e-4, weight_decay=0.01, epochs=15)


def alexnet(data: str) -> Options:
    """python train.py --model alexnet --data digits"""
    if data == "imagefolder":
        return imagenet_recipes.alexnet()
    return replace(in_grey_levels(plain(data)), image_size=67)


def zfnet(data: str) -> Options:
    """python train.py --model zfnet --data digits"""
    if data == "imagefolder":
        return imagenet_recipes.zfnet()
    return replace(in_grey_levels(plain(data)), image_size=67)


def vgg(data: str) -> Options:
    """python train.py --model vgg11 --data digits"""
    if data == "imagefolder":
        return imagenet_recipes.vgg()
    return replace(plain(data), epochs=10)


def vgg_bn(data: str) -> Options:
    """With batch normalisation, as easily trained as a residual network."""
    return vgg(data) if data == "imagefolder" else residual(data)


def googlenet(data: str) -> Options:
    """python train.py --model googlenet --data digits

    47 pixels are the least that its auxiliary heads can see.
    """
    if data == "imagefolder":
        return imagenet_recipes.googlenet()
    return replace(in_grey_levels(plain(data)), image_size=47)


def googlenet_bn(data: str) -> Options:
    return googlenet(data) if data == "imagefolder" else residual(data)


def deepface(data: str) -> Options:
    """python train.py --model deepface --data digits

    72 pixels are the least that its filters can see; its paper's faces have 152.
    """
    return replace(plain(data), image_size=152 if data == "imagefolder" else 72)


def pattern(model: str, data: str) -> Options:
    """Any layer pattern (models/pattern.py), on images of the size INPUT names if it names one.

    python train.py --model "INPUT -> [[CONV3-16 -> RELU]*2 -> POOL2]*2 -> [FC64 -> RELU] -> FC"
    """
    grammar = _grammar()
    try:
        size, _ = grammar.parse(model)
    except grammar.PatternError as error:
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


def _grammar() -> ModuleType:
    """A copy of `models.pattern` without the package around it, which imports torch: a mistake in a
    pattern is told at once."""
    file = Path(__file__).parent.parent / "models" / "pattern.py"
    spec = importlib.util.spec_from_file_location("pattern", file)
    assert spec is not None
    assert spec.loader is not None
    grammar = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(grammar)
    return grammar


RECIPES: dict[str, Callable[[str], Options]] = {
    "lenet": lenet,
    "lenet5": lenet5,
    "alexnet": alexnet,
    "alexnet_owt": alexnet,
    "zfnet": zfnet,
    "zfnet_512": zfnet,
    **dict.fromkeys(("vgg11", "vgg11_lrn", "vgg13", "vgg16_c", "vgg16", "vgg19"), vgg),
    **dict.fromkeys(("vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"), vgg_bn),
    "googlenet": googlenet,
    "googlenet_bn": googlenet_bn,
    **{f"resnet{depth}": residual for depth in (18, 34, 50, 101, 152)},
    **{f"resnet{depth}_v1": residual for depth in (50, 101, 152)},
    **{f"resnet{depth}": resnet_cifar for depth in (20, 32, 44, 56, 110, 1202)},
    **{f"preact_resnet{depth}": residual for depth in (18, 34, 50, 101, 152, 200)},
    **{f"preact_resnet{depth}": resnet_cifar for depth in (110, 164, 1001)},
    "model_c": pooled_allcnn,
    "strided_cnn_c": allcnn,
    "convpool_cnn_c": pooled_allcnn,
    "allcnn_c": allcnn,
    "deepface": deepface,
}


def recipe(model: str, data: str) -> Options:
    """The options for a network, or a layer pattern, and a data set.

    Raises:
        UserError: an unknown name of either; says the nearest ones.  A wrong pattern; says where.
    """
    if data not in DATA:
        raise unknown("data", data, DATA)
    if model in RECIPES:
        return replace(RECIPES[model](data), model=model)
    if may_be_pattern(model):
        return pattern(model, data)
    raise unknown("model", model, RECIPES)


def in_imagenet_s_units(options: Options) -> Options:
    """Colours scaled as torchvision's weights expect them, whatever the recipe does from chance."""
    facts = DATA["imagefolder"]
    if len(options.mean) != len(facts.mean):
        return options
    return replace(options, mean=facts.mean, std=facts.std)


def may_be_pattern(model: str) -> bool:
    """`models.pattern.is_pattern`, for which torch would be imported."""
    return "->" in model or model.upper().startswith("INPUT")
