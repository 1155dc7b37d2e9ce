"""The residual networks, the all convolutional ones and DeepFace, one row each."""

from typing import Any

from tests.models.cases import NetworkCase

CIFAR: dict[str, Any] = dict(image=(3, 32, 32), num_classes=10)

RESIDUAL = [
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
