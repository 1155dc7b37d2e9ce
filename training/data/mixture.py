"""Pairs of training images mixed into one, with their classes: mixup and CutMix, torchvision's."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torchvision.transforms import v2

from ..options import Options


def mixture(
    options: Options, classes: int
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    """(images, class indices) -> (images, probabilities (N, classes)); None if nothing is mixed.

    It draws from torch's CPU generator.  Source: Zhang et al. 2018 (mixup), Yun et al. 2019.
    """
    kinds = []
    if options.mixup:
        kinds.append(v2.MixUp(alpha=options.mixup, num_classes=classes))
    if options.cutmix:
        kinds.append(v2.CutMix(alpha=options.cutmix, num_classes=classes))
    if not kinds:
        return None
    return v2.RandomChoice(kinds) if len(kinds) > 1 else kinds[0]
