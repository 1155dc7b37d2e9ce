"""The layers that `.ci/gpu` times, the most important first: there may not be time for all."""

from __future__ import annotations

from ..shapes import Row

_RESPONSE = {"alpha": 1e-4, "beta": 0.75, "k": 2.0}

ROWS = [
    Row("resnet50.layer1.conv2", "Conv2d", (128, 64, 56, 56), (64, 64, 3), {"padding": 1}),
    Row("resnet50.layer1.conv3", "Conv2d", (128, 64, 56, 56), (64, 256, 1)),
    Row("alexnet.pool1", "MaxPool2d", (256, 96, 55, 55), (3, 2)),
    Row("alexnet.norm1", "LocalResponseNorm", (256, 96, 55, 55), (5,), _RESPONSE),
    Row("resnet50.layer1.bn3", "BatchNorm2d", (128, 256, 56, 56), (256,)),
    Row("resnet50.layer1.relu", "ReLU", (128, 256, 56, 56)),
    Row("vgg16.conv3_2", "Conv2d", (64, 256, 56, 56), (256, 256, 3), {"padding": 1}),
    Row("alexnet.conv1", "Conv2d", (256, 3, 227, 227), (3, 96, 11), {"stride": 4}),
    Row("alexnet.conv2", "Conv2d", (256, 96, 27, 27), (96, 256, 5), {"padding": 2, "groups": 2}),
    Row("local.32x32", "LocallyConnected2d", (32, 16, 32, 32), (16, 32, 32, 3),
        baselines=("snippet",)),
    Row("resnet50.layer2.0.conv2", "Conv2d", (128, 128, 56, 56), (128, 128, 3),
        {"stride": 2, "padding": 1}),
    Row("vgg16.pool1", "MaxPool2d", (64, 64, 224, 224), (2,)),
    Row("resnet50.conv1", "Conv2d", (128, 3, 224, 224), (3, 64, 7), {"stride": 2, "padding": 3}),
    Row("alexnet.fc6", "Linear", (256, 9216), (9216, 4096)),
    Row("vgg16.conv1_2", "Conv2d", (64, 64, 224, 224), (64, 64, 3), {"padding": 1}),
    Row("vgg16.conv5", "Conv2d", (64, 512, 14, 14), (512, 512, 3), {"padding": 1}),
    Row("resnet50.layer3.conv3", "Conv2d", (128, 256, 14, 14), (256, 1024, 1)),
    Row("googlenet.3a.branch3", "Conv2d", (128, 16, 28, 28), (16, 32, 5), {"padding": 2}),
    Row("googlenet.3a.branch4", "MaxPool2d", (128, 192, 28, 28), (3, 1, 1)),
    Row("l2.alexnet.pool1", "LPPool2d", (256, 96, 55, 55), (2, 3, 2)),
    Row("googlenet.aux1", "AvgPool2d", (128, 512, 14, 14), (5, 3)),
    Row("imagenet.loss", "CrossEntropyLoss", (256, 1000)),
    Row("imagenet.softmax", "Softmax", (256, 1000), (1,)),
    Row("resnet50.avgpool", "AdaptiveAvgPool2d", (128, 2048, 7, 7), (1,)),
]  # fmt: skip

# Without matrix products, so the precision of float32 products makes no difference.
NO_PRODUCT = {
    "MaxPool2d", "AvgPool2d", "AdaptiveAvgPool2d", "LPPool2d", "LocalResponseNorm", "BatchNorm2d",
    "ReLU", "Softmax", "CrossEntropyLoss",
}  # fmt: skip

# Also timed in plain torch under torch.compile.
COMPILED = (
    "alexnet.norm1", "resnet50.layer1.bn3", "alexnet.pool1", "local.32x32", "resnet50.layer1.relu",
)  # fmt: skip
