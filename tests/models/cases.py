"""The networks of the zoo, one row each, shared by the tests that hold for all of them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

import layers
import models

NOTHING: Mapping[str, Any] = MappingProxyType({})


class NetworkCase(NamedTuple):
    """What is known about a network, with all its classes at its native image size."""

    name: str  # a key of MODELS
    parameters: int
    macs: int  # multiply-adds of one image in evaluation: layers with weights, norms apart
    small: int | None  # an image size that a test can afford; None: no test with numbers
    options: Mapping[str, Any] = NOTHING  # of the builder, beyond its defaults
    torchvision: str | None = None  # its twin there
    small_options: Mapping[str, Any] = NOTHING  # of the builder, at the small size
    image: tuple[int, int, int] = (3, 224, 224)
    num_classes: int = 1000

    @property
    def id(self) -> str:
        return "-".join([self.name, *(f"{key}={value}" for key, value in self.options.items())])

    def build(self, nn=layers, **options):
        return models.build(self.name, nn=nn, **{**self.options, **options})

    def build_small(self, nn=layers):
        """At the small image size, with few classes."""
        return self.build(nn, num_classes=7, image_size=self.small, **self.small_options)

    def small_batch(self, dtype=torch.float32):
        """Channels last, so that both layer sets keep that layout, in which dropout is drawn."""
        x = torch.randn(2, self.image[0], self.small, self.small, dtype=dtype)
        return x.contiguous(memory_format=torch.channels_last)


def vgg(name, parameters, macs, twin=True):
    """At 32 pixels without the 7 x 7 grid of repeated numbers, which costs 100 million weights."""
    torchvision = name if twin else None
    return NetworkCase(name, parameters, macs, 32, NOTHING, torchvision, dict(avgpool=None))


NETWORKS = [
    NetworkCase("alexnet", 60_965_224, 724_406_816, 64),
    NetworkCase("alexnet_owt", 61_100_840, 714_188_480, 64, torchvision="alexnet"),
    NetworkCase("zfnet", 62_357_608, 1_168_032_896, 64),
    NetworkCase("zfnet_512", 107_627_624, 2_476_704_896, 64),
    vgg("vgg11", 132_863_336, 7_609_090_048),
    vgg("vgg11_lrn", 132_863_336, 7_609_090_048, twin=False),
    vgg("vgg13", 133_047_848, 11_308_466_176),
    vgg("vgg16_c", 133_638_952, 11_770_888_192, twin=False),
    vgg("vgg16", 138_357_544, 15_470_264_320),
    vgg("vgg19", 143_667_240, 19_632_062_464),
    vgg("vgg11_bn", 132_868_840, 7_609_090_048),
    vgg("vgg13_bn", 133_053_736, 11_308_466_176),
    vgg("vgg16_bn", 138_365_992, 15_470_264_320),
    vgg("vgg19_bn", 143_678_248, 19_632_062_464),
    NetworkCase("googlenet", 13_378_280, 1_582_671_872, 64),
    NetworkCase("googlenet", 6_998_552, 1_582_671_872, 64, dict(aux_logits=False)),
    NetworkCase("googlenet_bn", 13_004_888, 1_498_376_192, 64, torchvision="googlenet"),
    NetworkCase("googlenet_bn", 6_624_904, 1_498_376_192, 64, dict(aux_logits=False), "googlenet"),
]
