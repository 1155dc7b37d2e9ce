"""The networks, at least one row each, shared by the tests that hold for all of them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

import layers
import models

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


class NetworkCase(NamedTuple):
    """A network with its default options, or with `options`, and the figures of its paper."""

    name: str  # a key of models.MODELS
    parameters: int
    macs: int  # multiply-adds per image of the convolutions and linear layers, in evaluation
    small: int | None  # an image size for tests that compute; None if they would take too long
    options: Mapping[str, Any] = NO_OPTIONS  # of the builder
    torchvision: str | None = None  # the same network in torchvision
    small_options: Mapping[str, Any] = NO_OPTIONS  # more options of the builder at the small size
    image: tuple[int, int, int] = (3, 224, 224)  # defaults of in_channels and image_size
    num_classes: int = 1000  # its default

    @property
    def id(self) -> str:
        return "-".join([self.name, *(f"{key}={value}" for key, value in self.options.items())])

    def build(self, nn=layers, **options):
        return models.build(self.name, nn=nn, **{**self.options, **options})

    def build_small(self, nn=layers):
        """For small images and few classes."""
        return self.build(nn, num_classes=7, image_size=self.small, **self.small_options)

    def small_batch(self, dtype=torch.float32):
        """In channels_last, which both layer sets preserve, so that dropout draws the same mask."""
        x = torch.randn(2, self.image[0], self.small, self.small, dtype=dtype)
        return x.contiguous(memory_format=torch.channels_last)


def vgg(name, parameters, macs, twin=True):
    """At 32 pixels without average pooling to 7 x 7, which would take 100 million weights."""
    torchvision = name if twin else None
    return NetworkCase(name, parameters, macs, 32, NO_OPTIONS, torchvision, dict(avgpool=None))


DIGITS: dict[str, Any] = dict(image=(1, 32, 32), num_classes=10)
CIFAR: dict[str, Any] = dict(image=(3, 32, 32), num_classes=10)

NETWORKS = [
    NetworkCase("lenet", 61_706, 416_520, 32, **DIGITS),
    NetworkCase("lenet5", 60_000, 415_680, 32, **DIGITS),
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
    NetworkCase("resnet18", 11_689_512, 1_814_073_344, 48, torchvision="resnet18"),
    NetworkCase("resnet18", 11_515_688, 1_794_805_760, 48, dict(shortcut="A")),
    NetworkCase("resnet18", 12_043_816, 1_878_298_624, 48, dict(shortcut="C")),
    NetworkCase("resnet34", 21_797_672, 3_663_761_408, 64, torchvision="resnet34"),
    NetworkCase("resnet34", 21_623_848, 3_644_493_824, None, dict(shortcut="A")),
    NetworkCase("resnet34", 22_716_840, 3_830_747_136, None, dict(shortcut="C")),
    NetworkCase("resnet50", 25_557_032, 4_089_184_256, 64, torchvision="resnet50"),
    NetworkCase("resnet101", 44_549_160, 7_801_405_440, None, torchvision="resnet101"),
    NetworkCase("resnet152", 60_192_808, 11_513_626_624, None, torchvision="resnet152"),
    NetworkCase("resnet50_v1", 25_557_032, 3_857_973_248, 64),
    NetworkCase("resnet101_v1", 44_549_160, 7_570_194_432, None),
    NetworkCase("resnet152_v1", 60_192_808, 11_282_415_616, None),
    NetworkCase("resnet20", 269_722, 40_551_040, 16, **CIFAR),
    NetworkCase("resnet20", 272_474, 40_813_184, 16, dict(shortcut="B"), **CIFAR),
    NetworkCase("resnet32", 464_154, 68_862_592, 16, **CIFAR),
    NetworkCase("resnet44", 658_586, 97_174_144, 16, **CIFAR),
    NetworkCase("resnet56", 853_018, 125_485_696, 16, **CIFAR),
    NetworkCase("resnet110", 1_727_962, 252_887_680, 16, **CIFAR),
    NetworkCase("resnet1202", 19_421_274, 2_829_238_912, None, **CIFAR),
    NetworkCase("preact_resnet18", 11_687_720, 1_814_073_344, 48),
    NetworkCase("preact_resnet34", 21_795_880, 3_663_761_408, 64),
    NetworkCase("preact_resnet50", 25_549_352, 4_089_184_256, 64),
    NetworkCase("preact_resnet101", 44_541_480, 7_801_405_440, None),
    NetworkCase("preact_resnet152", 60_185_128, 11_513_626_624, None),
    NetworkCase("preact_resnet200", 64_666_152, 15_007_481_856, None),
    NetworkCase("preact_resnet110", 1_727_962, 252_887_680, 16, **CIFAR),
    NetworkCase("preact_resnet164", 1_703_258, 244_500_992, 16, **CIFAR),
    NetworkCase("preact_resnet1001", 10_327_706, 1_487_849_984, None, **CIFAR),
    NetworkCase("model_c", 954_730, 228_331_008, 12, **CIFAR),
    NetworkCase("strided_cnn_c", 954_730, 100_929_024, 12, **CIFAR),
    NetworkCase("convpool_cnn_c", 1_369_738, 398_200_320, 12, **CIFAR),
    NetworkCase("allcnn_c", 1_369_738, 270_798_336, 12, **CIFAR),
    NetworkCase("deepface", 118_923_774, 517_624_448, 72, image=(3, 152, 152), num_classes=4030),
]
