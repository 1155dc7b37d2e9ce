"""The table of `compare.py layers`: every operator, at sizes that occur in networks.

A row stands for layer(*arguments, **options) on an input of `shape`.  The batch is 128 images for
LeNet's digits, 16 for ImageNet's photographs and 4 for VGG's wide layers; fully connected layers
and the layers after them get 128.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Row(NamedTuple):
    id: str  # network.layer, as named by torchvision or the paper
    layer: str  # class name in layers and (except for LocallyConnected2d) in torch.nn
    shape: tuple[int, ...]  # of the input
    arguments: tuple[Any, ...] = ()
    options: dict[str, Any] = {}  # noqa: RUF012 -- never written to
    group: str = ""  # the group of rows of a target (targets.py)
    ours: dict[str, Any] = {}  # noqa: RUF012 -- options that only our layer has
    copies: int = 1  # number of such layers in the network
    layout: str = ""  # "NCHW" or "NHWC" for both sides; "": the better of the two for torch.nn
    baselines: tuple[str, ...] = ()  # see baselines.py

    def small(self) -> Row:
        """The same layer on two small images."""
        _, *size = self.shape
        if len(size) == 3 and self.layer != "LocallyConnected2d":  # is built for one image size
            size = [size[0], *(min(length, SMALL) for length in size[1:])]
        return self._replace(shape=(2, *size))

    def __str__(self) -> str:
        named = {**self.options, **self.ours}
        words = [*map(str, self.arguments), *(f"{key}={value}" for key, value in named.items())]
        return f"{self.layer}({', '.join(words)})"


SMALL = 20  # pixels, larger than any window

IM2COL = "conv2d im2col"
VGG = "conv2d auto"
TEXTBOOK = "conv2d by default"
POOL, POOL_LAST = "max_pool2d NCHW", "max_pool2d channels_last"
LRN, LP, BATCH_NORM, LOCAL = "local_response_norm", "lp_pool2d", "batch_norm", "locally_connected2d"


def _im2col(id: str, shape: tuple[int, ...], *arguments: int, **options: Any) -> Row:
    """One of nine convolutions that are also timed against the textbook convolution."""
    return Row(
        id, "Conv2d", shape, arguments, options, IM2COL, {"algorithm": "im2col"}, 1, "", ("unfold",)
    )


NINE = [
    _im2col("resnet18.layer1", (16, 64, 56, 56), 64, 64, 3, padding=1, bias=False),
    _im2col("resnet18.layer2", (16, 128, 28, 28), 128, 128, 3, padding=1, bias=False),
    _im2col("resnet18.layer3", (16, 256, 14, 14), 256, 256, 3, padding=1, bias=False),
    _im2col("resnet18.layer4", (16, 512, 7, 7), 512, 512, 3, padding=1, bias=False),
    _im2col("alexnet.conv2", (16, 96, 27, 27), 96, 256, 5, padding=2, groups=2),
    _im2col("resnet18.layer2.0", (16, 64, 56, 56), 64, 128, 3, stride=2, padding=1, bias=False),
    _im2col("resnet18.conv1", (16, 3, 224, 224), 3, 64, 7, stride=2, padding=3, bias=False),
    _im2col("alexnet.conv1", (16, 3, 227, 227), 3, 96, 11, stride=4),
    _im2col("resnet50.layer1.1.conv1", (16, 256, 56, 56), 256, 64, 1, bias=False),
]
CONVOLUTIONS = [
    *NINE,
    *(row._replace(id=f"{row.id}.default", group=TEXTBOOK, ours={}) for row in NINE),
    Row("vgg16.conv1_1", "Conv2d", (4, 3, 224, 224), (3, 64, 3), {"padding": 1}, VGG),
    Row("vgg16.conv1_2", "Conv2d", (4, 64, 224, 224), (64, 64, 3), {"padding": 1}, VGG),
    Row("vgg16.conv2_1", "Conv2d", (4, 64, 112, 112), (64, 128, 3), {"padding": 1}, VGG),
    Row("vgg16.conv2_2", "Conv2d", (4, 128, 112, 112), (128, 128, 3), {"padding": 1}, VGG),
    Row("vgg16.conv3_1", "Conv2d", (4, 128, 56, 56), (128, 256, 3), {"padding": 1}, VGG),
    Row("vgg16.conv3_2", "Conv2d", (4, 256, 56, 56), (256, 256, 3), {"padding": 1}, VGG, copies=2),
    Row("vgg16.conv4_1", "Conv2d", (4, 256, 28, 28), (256, 512, 3), {"padding": 1}, VGG),
    Row("vgg16.conv4_2", "Conv2d", (4, 512, 28, 28), (512, 512, 3), {"padding": 1}, VGG, copies=2),
    Row("vgg16.conv5", "Conv2d", (4, 512, 14, 14), (512, 512, 3), {"padding": 1}, VGG, copies=3),
    Row("lenet.conv1", "Conv2d", (128, 1, 32, 32), (1, 6, 5)),
    Row("lenet.conv2", "Conv2d", (128, 6, 14, 14), (6, 16, 5)),
    Row("alexnet.conv3", "Conv2d", (16, 256, 13, 13), (256, 384, 3), {"padding": 1}),
    Row("zfnet.conv1", "Conv2d", (16, 3, 224, 224), (3, 96, 7), {"stride": 2, "padding": 1}),
    Row("zfnet.conv2", "Conv2d", (16, 96, 55, 55), (96, 256, 5), {"stride": 2}),
    Row("googlenet.3a.branch2", "Conv2d", (16, 96, 28, 28), (96, 128, 3), {"padding": 1}),
    Row("googlenet.3a.branch3", "Conv2d", (16, 16, 28, 28), (16, 32, 5), {"padding": 2}),
    Row("googlenet.5b.branch2", "Conv2d", (16, 192, 7, 7), (192, 384, 3), {"padding": 1}),
    Row("resnet50.layer3.1.conv3", "Conv2d", (16, 256, 14, 14), (256, 1024, 1), {"bias": False}),
    Row("resnet50.layer2.0.downsample", "Conv2d", (16, 256, 56, 56), (256, 512, 1),
        {"stride": 2, "bias": False}),
]  # fmt: skip

FULLY_CONNECTED = [
    Row("lenet.fc1", "Linear", (128, 400), (400, 120)),
    Row("alexnet.fc6", "Linear", (128, 9216), (9216, 4096)),
    Row("vgg16.fc7", "Linear", (128, 4096), (4096, 4096)),
    Row("resnet50.fc", "Linear", (128, 2048), (2048, 1000)),
]

LOCALLY_CONNECTED = [
    Row("local.32x32", "LocallyConnected2d", (32, 16, 32, 32), (16, 32, 32, 3), {}, LOCAL,
        baselines=("snippet", "jax")),
]  # fmt: skip

_MAX_POOLS = [
    Row("alexnet.pool1", "MaxPool2d", (16, 96, 55, 55), (3, 2)),
    Row("resnet18.maxpool", "MaxPool2d", (16, 64, 112, 112), (3, 2, 1)),
    Row("vgg16.pool1", "MaxPool2d", (4, 64, 224, 224), (2,)),
    Row("vgg16.pool3", "MaxPool2d", (4, 256, 56, 56), (2,)),
]

POOLS = [
    *(row._replace(layout="NCHW", group=POOL) for row in _MAX_POOLS),
    *(row._replace(id=f"{row.id}.last", layout="NHWC", group=POOL_LAST) for row in _MAX_POOLS),
    Row("lenet.pool1", "MaxPool2d", (128, 6, 28, 28), (2,)),
    Row("googlenet.3a.branch4", "MaxPool2d", (16, 192, 28, 28), (3, 1, 1)),
    Row("lenet5.s2", "AvgPool2d", (128, 6, 28, 28), (2,)),
    Row("googlenet.aux1", "AvgPool2d", (16, 512, 14, 14), (5, 3)),
    Row("resnet50.avgpool", "AdaptiveAvgPool2d", (16, 2048, 7, 7), (1,)),
    Row("vgg16.avgpool", "AdaptiveAvgPool2d", (4, 512, 10, 10), (7,)),  # of 320 pixels
    Row("l2.alexnet.pool1", "LPPool2d", (16, 96, 55, 55), (2, 3, 2), {}, LP),
    Row("l2.vgg16.pool3", "LPPool2d", (4, 256, 56, 56), (2, 2), {}, LP),
]

_RESPONSE = {"alpha": 1e-4, "beta": 0.75, "k": 2.0}

NORMALIZATION = [
    Row("alexnet.norm1", "LocalResponseNorm", (16, 96, 55, 55), (5,), _RESPONSE, LRN),
    Row("alexnet.norm2", "LocalResponseNorm", (16, 256, 27, 27), (5,), _RESPONSE, LRN),
    Row("resnet18.bn1", "BatchNorm2d", (16, 64, 112, 112), (64,), {}, BATCH_NORM),
    Row("resnet18.layer1.bn", "BatchNorm2d", (16, 64, 56, 56), (64,), {}, BATCH_NORM),
    Row("resnet50.layer1.bn3", "BatchNorm2d", (16, 256, 56, 56), (256,), {}, BATCH_NORM),
    Row("resnet18.layer2.bn", "BatchNorm2d", (16, 128, 28, 28), (128,), {}, BATCH_NORM),
    Row("resnet50.layer3.bn3", "BatchNorm2d", (16, 1024, 14, 14), (1024,), {}, BATCH_NORM),
    Row("resnet18.layer4.bn", "BatchNorm2d", (16, 512, 7, 7), (512,), {}, BATCH_NORM),
]

POINTWISE = [
    Row("vgg16.relu1", "ReLU", (4, 64, 224, 224)),
    Row("lenet.relu3", "ReLU", (128, 120)),
    Row("lenet5.c1", "Tanh", (128, 6, 28, 28)),
    Row("alexnet.drop6", "Dropout", (128, 4096), (0.5,)),
    Row("imagenet.softmax", "Softmax", (128, 1000), (1,)),
    Row("imagenet.loss", "CrossEntropyLoss", (128, 1000)),
]

ROWS = CONVOLUTIONS + FULLY_CONNECTED + LOCALLY_CONNECTED + POOLS + NORMALIZATION + POINTWISE


class Growth(NamedTuple):
    """The same layer on two inputs; the larger one is `factor` times the work."""

    name: str
    small: Row
    large: Row
    factor: float


def _growth(name: str, small: tuple[int, ...], large: tuple[int, ...], factor: int) -> list[Growth]:
    """With both algorithms."""
    growths = []
    for algorithm in ("im2col", "auto"):
        row = Row("", "Conv2d", small, (64, 64, 3), {"padding": 1}, "", {"algorithm": algorithm})
        growths.append(Growth(f"{name}, {algorithm}", row, row._replace(shape=large), factor))
    return growths


GROWTHS = [
    *_growth("time per image, batch 4 to 64", (4, 64, 56, 56), (64, 64, 56, 56), 16),
    *_growth("time per pixel, 56 to 224 px", (4, 64, 56, 56), (4, 64, 224, 224), 16),
]


def choose(names: Sequence[str]) -> list[Row]:
    """Rows by operator (conv2d, max_pool2d), network (vgg16), id (vgg16.conv1_1), or one operator
    of one network (conv2d@vgg16); of several names, the rows of any.

    Raises:
        KeyError: a name that matches no row.
    """
    if not names:
        return ROWS
    chosen = {name: [row for row in ROWS if _matches(row, name)] for name in names}
    for name, rows in chosen.items():
        if not rows:
            raise KeyError(name)
    return [row for row in ROWS if any(row in rows for rows in chosen.values())]


def names() -> list[str]:
    """The names that `choose` accepts: layers, then networks, then rows."""
    columns = zip(*((row.layer, row.id.split(".")[0], row.id) for row in ROWS), strict=True)
    return list(dict.fromkeys(name for column in columns for name in column))


def _matches(row: Row, name: str) -> bool:
    """max_pool2d and MaxPool2d are the same; batch_norm matches BatchNorm2d."""
    if "@" in name:
        return all(part and _matches(row, part) for part in name.split("@"))
    operator = name.lower().replace("_", "")
    return row.layer.lower().startswith(operator) or f"{row.id}.".startswith(f"{name}.")
