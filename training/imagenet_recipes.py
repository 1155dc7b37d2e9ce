"""How the papers trained on ImageNet, for `--data imagefolder`: ROOT/train/CLASS, ROOT/val/CLASS.

Each function is one paper's section on training, as far as our options can say it, and says where
it differs.  The accuracies are the papers'; nobody trained these networks here.  Common to all and
different from the papers: the mean taken off is one colour, not a mean image, and a random
part of the picture is cut out instead of a fixed-size crop of a rescaled one.
"""

from __future__ import annotations

from dataclasses import replace

from .data.catalog import DATA
from .options import Options


def imagenet(data: str = "imagefolder") -> Options:
    """Common ground: 224 pixels, SGD with momentum 0.9, steps, crops and mirror images."""
    facts = DATA[data]
    return Options(
        data=data, mean=facts.mean, std=facts.std, image_size=224, augment="crop-flip",
        optimizer="sgd", momentum=0.9, schedule="step", workers=4, val_fraction=0.02,
    )  # fmt: skip


def in_grey_levels(options: Options) -> Options:
    """Pixels of about -128 to 128: the mean is taken off, and nothing divided.

    AlexNet's and ZFNet's weights start with a deviation of 0.01, GoogLeNet's replica was fed with
    such pixels, too.  With unit variance the signal dies out within a few layers, and so does
    learning.
    """
    return replace(options, std=(1 / 255,) * len(options.std))


def alexnet() -> Options:
    """Krizhevsky et al. 2012, sections 4 and 5: 40.7 / 18.2 % top-1 / top-5 error.

    python train.py --model alexnet --data imagefolder --data-root ROOT

    The rate falls where the run behind the paper's numbers let it fall, after 25, 51 and 79 of 91
    epochs (its code of 2012); the paper says "when the validation error stopped improving".  Decay
    on weights only, as in that code.  Colours are shifted along their principal components.
    """
    return replace(
        in_grey_levels(imagenet()), epochs=91, batch_size=128, lr=0.01, weight_decay=5e-4,
        decay="weights", milestones=(25 / 91, 51 / 91, 79 / 91), augment="crop-flip-lighting",
    )  # fmt: skip


def zfnet() -> Options:
    """Zeiler & Fergus 2013, section 3: 38.4 / 16.5 %.

    Rate lowered by hand in the paper, here twice; decay is not stated, AlexNet's is taken.
    """
    return replace(alexnet(), epochs=70, decay="all", milestones=(0.5, 0.8), augment="crop-flip")


def vgg() -> Options:
    """Simonyan & Zisserman 2014, section 3.1: vgg16 27.0 / 8.8 %.

    The rate falls three times in the paper's 74 epochs, when validation stopped improving; where is
    not said, a warm-up neither.  From the default initialisation, which needs no pre-trained net A.
    """
    return replace(
        imagenet(), epochs=74, batch_size=256, lr=0.01, weight_decay=5e-4,
        milestones=(0.5, 0.75, 0.9), augment="crop-flip-lighting",
    )  # fmt: skip


def googlenet() -> Options:
    """Szegedy et al. 2014, section 6, filled up from the Caffe replica: 31.3 / 11.1 %.

    The paper gives momentum and "4 % less every 8 epochs", not the rate, batch or decay; the
    replica's are 0.01, 32 and 2e-4 over 60 epochs.  Differs: half a cosine in place of its
    polynomial of power 0.5; no average of the weights.
    """
    return replace(
        in_grey_levels(imagenet()), epochs=60, batch_size=32, lr=0.01, weight_decay=2e-4,
        schedule="cosine",
    )  # fmt: skip


def resnet() -> Options:
    """He et al. 2015, section 3.4: resnet50 24.7 / 7.8 % (one crop, the authors' models).

    Rate 0.1 for batches of 256, a tenth of it "when the error plateaus": after 30, 60 and 80 of
    90 epochs, as Facebook's and torchvision's runs did.
    """
    return replace(
        imagenet(), epochs=90, batch_size=256, lr=0.1, weight_decay=1e-4,
        milestones=(30 / 90, 60 / 90, 80 / 90), augment="crop-flip-lighting",
    )  # fmt: skip
