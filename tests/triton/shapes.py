"""Calls at the sizes that networks make them at, for kernels that are compiled and not run."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch

from layers.ops.geometry import Geometry
from layers.ops.registry import OPERATORS

BYTES = torch.uint8


class Shape(NamedTuple):
    id: str
    operator: str
    inputs: Callable  # of `images`, which makes a tensor, and channels_last: the operator's inputs
    wide: tuple[str, ...] = ()  # the formats in which it loads 16 bytes at a time
    matrix: bool = False  # whether it multiplies by matrix instructions

    def arguments(self, dtype, channels_last):
        """What `Kernel.compute` takes, without values."""

        def images(*shape, dtype=dtype):
            layout = torch.channels_last if channels_last else torch.contiguous_format
            layout = layout if len(shape) == 4 else torch.contiguous_format
            return torch.empty(shape, dtype=dtype, device="meta", memory_format=layout)

        inputs = self.inputs(images, channels_last)
        outputs = OPERATORS[self.operator].empty(*inputs)
        return *inputs, *(outputs if isinstance(outputs, tuple) else [outputs])


def convolution(operator, id, images, filters, kernel, wide=True, algorithm="auto", **options):
    """The operator of Conv2d(C, filters, kernel, **options) on images (N, C, H, W).

    Contiguous images are loaded wide as well: they are copied to channels last before.
    """
    pairs = {name: (n, n) for name, n in options.items() if name != "groups"}
    geometry = Geometry((kernel, kernel), groups=options.get("groups", 1), **pairs)
    weight = (filters, images[1] // geometry.groups, kernel, kernel)
    upstream = (images[0], filters, *geometry.output_size(images[2:]))
    inputs = {
        "conv2d": lambda new, last: (new(*images), new(*weight), geometry, last, algorithm),
        "conv2d_input": lambda new, last: (
            new(*weight), new(*upstream), geometry, images[2:], last, algorithm
        ),
    }  # fmt: skip
    formats = ("contiguous", "channels_last") if wide else ()
    return Shape(id, operator, inputs[operator], formats, matrix=True)


def convolutions(operator):
    new = partial(convolution, operator)
    return [
        new("alexnet-1", (256, 3, 227, 227), 96, 11, operator == "conv2d_input", stride=4),
        new("alexnet-2", (256, 96, 27, 27), 256, 5, padding=2, groups=2),
        new("vgg", (64, 256, 56, 56), 256, 3, padding=1),
        new("vgg-tf32x3", (64, 256, 56, 56), 256, 3, algorithm="tf32x3", padding=1),
        new("googlenet", (128, 16, 28, 28), 32, 5, padding=2),
        new("resnet", (128, 64, 56, 56), 64, 3, padding=1),
        new("resnet-stride-2", (128, 128, 56, 56), 128, 3, stride=2, padding=1),
        new("resnet-1x1-stride-2", (128, 256, 56, 56), 512, 1, stride=2),
    ]


OVERLAPPING, HALVING = Geometry((3, 3), (2, 2)), Geometry((2, 2), (2, 2))
PADDED, INCEPTION = Geometry((3, 3), (2, 2), (1, 1)), Geometry((3, 3), (1, 1), (1, 1))
MEANS, WHOLE_IMAGE = Geometry((5, 5), (3, 3)), Geometry((7, 7), (7, 7))

CHANNELS = torch.float32


def batch_norm(id, *shape, wide):
    """The shapes of batch normalisation, forward and backward."""

    def forward(images, last):
        gamma, beta = (images(shape[1], dtype=CHANNELS) for _ in range(2))
        return images(*shape), gamma, beta, 1e-5, last

    def backward(images, last):
        channels = (images(shape[1], dtype=CHANNELS) for _ in range(3))
        return images(*shape), images(*shape), *channels, 1e-5, last

    return (
        Shape(id, "batch_norm", forward, wide), Shape(id, "batch_norm_backward", backward, wide),
    )  # fmt: skip


def local_response_norm(id, *shape, wide=()):
    """The shapes of local response normalisation, forward and backward."""
    constants = 5, 1e-4, 0.75, 1.0
    return (
        Shape(id, "local_response_norm", lambda images, _: (images(*shape), *constants), wide),
        Shape(
            id, "local_response_norm_backward",
            lambda images, _: (images(*shape), images(*shape), *constants), wide,
        ),
    )  # fmt: skip


BOTH = "contiguous", "channels_last"


def locally_connected(id, batch, channels, filters, image, geometry):
    """The three of a layer."""
    size = geometry.output_size((image, image))
    terms = channels * geometry.kernel_size[0] * geometry.kernel_size[1]

    def x(images):
        return images(batch, channels, image, image)

    def g(images):
        return images(batch, filters, *size)

    def weight(images):
        return images(*size, 1, terms, filters)

    return [
        Shape(
            id, "locally_connected2d",
            lambda images, last: (x(images), weight(images), geometry, last),
            wide=BOTH, matrix=True,
        ),
        Shape(
            id, "locally_connected2d_input",
            lambda images, last: (weight(images), g(images), geometry, (image, image), last),
            wide=BOTH, matrix=True,
        ),
        Shape(
            id, "locally_connected2d_weight",
            lambda images, last: (x(images), g(images), geometry, last),
            wide=BOTH, matrix=True,
        ),
    ]  # fmt: skip


def conv_weight(id, batch, channels, filters, image, geometry, algorithm="auto"):
    size = geometry.output_size((image, image))
    return Shape(
        id, "conv2d_weight",
        lambda images, last: (
            images(batch, channels, image, image), images(batch, filters, *size), geometry, last,
            algorithm,
        ),
        wide=BOTH, matrix=True,
    )  # fmt: skip


SHAPES = [
    *convolutions("conv2d"),
    *convolutions("conv2d_input"),
    Shape(
        "alexnet", "max_pool2d",
        lambda images, last: (images(256, 96, 55, 55), OVERLAPPING, (27, 27), last),
        wide=("channels_last",),
    ),
    Shape(
        "vgg", "max_pool2d",
        lambda images, last: (images(64, 64, 224, 224), HALVING, (112, 112), last),
        wide=("channels_last",),
    ),
    Shape(
        "alexnet", "max_pool2d_gather",
        lambda images, last: (
            images(256, 96, 55, 55), images(256, 96, 27, 27, dtype=BYTES), OVERLAPPING, (27, 27),
            last,
        ),
    ),
    Shape(
        "alexnet", "max_pool2d_backward",
        lambda images, last: (
            images(256, 96, 27, 27), images(256, 96, 27, 27, dtype=BYTES), OVERLAPPING, (55, 55),
            last,
        ),
        wide=("channels_last",),
    ),
    Shape(
        "vgg", "max_pool2d_backward",
        lambda images, last: (
            images(64, 64, 112, 112), images(64, 64, 112, 112, dtype=BYTES), HALVING, (224, 224),
            last,
        ),
        wide=("channels_last",),
    ),
    Shape(
        "resnet", "max_pool2d",
        lambda images, last: (images(128, 64, 112, 112), PADDED, (56, 56), last),
        wide=("channels_last",),
    ),
    Shape(
        "inception", "max_pool2d",
        lambda images, last: (images(128, 192, 28, 28), INCEPTION, (28, 28), last),
        wide=("channels_last",),
    ),
    Shape(
        "inception", "max_pool2d_backward",
        lambda images, last: (
            images(128, 192, 28, 28), images(128, 192, 28, 28, dtype=BYTES), INCEPTION, (28, 28),
            last,
        ),
        wide=("channels_last",),
    ),
    Shape(
        "auxiliary", "window_sum",  # GoogLeNet's auxiliary classifiers
        lambda images, last: (images(128, 512, 14, 14), MEANS, (4, 4), last),
        wide=("channels_last",),
    ),
    Shape(
        "whole-image", "window_sum",
        lambda images, last: (images(128, 1024, 7, 7), WHOLE_IMAGE, (1, 1), last),
        wide=("channels_last",),
    ),
    Shape(
        "auxiliary", "window_sum_backward",
        lambda images, last: (images(128, 512, 4, 4), MEANS, (14, 14), last),
        wide=("channels_last",),
    ),
    Shape(
        "whole-image", "window_sum_backward",
        lambda images, last: (images(128, 1024, 1, 1), WHOLE_IMAGE, (7, 7), last),
        wide=("channels_last",),
    ),
    *(
        Shape(
            f"alexnet-{p}", "lp_pool2d",
            lambda images, last, p=p: (images(256, 96, 55, 55), p, OVERLAPPING, (27, 27), last),
            wide=("channels_last",),
        )
        for p in (2.0, 3.0)
    ),
    *(
        Shape(
            f"alexnet-{p}", "lp_pool2d_backward",
            lambda images, last, p=p: (
                images(256, 96, 27, 27), images(256, 96, 55, 55), images(256, 96, 27, 27), p,
                OVERLAPPING, last,
            ),
            wide=("channels_last",),
        )
        for p in (2.0, 3.0)
    ),
    *batch_norm("resnet50-first", 128, 64, 112, 112, wide=BOTH),
    *batch_norm("resnet50-stage1", 128, 256, 56, 56, wide=BOTH),
    *batch_norm("resnet50-stage4", 128, 2048, 7, 7, wide=BOTH[1:]),
    *batch_norm("resnet50-one-image", 1, 64, 7, 7, wide=BOTH[1:]),
    *local_response_norm("alexnet", 256, 96, 55, 55),
    *local_response_norm("alexnet-conv2", 256, 256, 27, 27),
    *local_response_norm("googlenet", 128, 64, 56, 56),
    conv_weight("alexnet-1", 256, 3, 96, 227, Geometry((11, 11), (4, 4))),
    conv_weight("alexnet-2", 256, 96, 256, 27, Geometry((5, 5), padding=(2, 2), groups=2)),
    conv_weight("googlenet-5x5", 128, 16, 32, 28, Geometry((5, 5), padding=(2, 2))),
    conv_weight("resnet-1", 128, 3, 64, 224, Geometry((7, 7), (2, 2), (3, 3))),
    conv_weight("resnet-64", 128, 64, 64, 56, Geometry((3, 3), padding=(1, 1))),
    conv_weight("tf32x3", 128, 64, 64, 56, Geometry((3, 3), padding=(1, 1)), "tf32x3"),
    conv_weight("resnet-128-stride-2", 128, 128, 128, 56, Geometry((3, 3), (2, 2), (1, 1))),
    conv_weight("resnet-1x1-stride-2", 128, 256, 512, 56, Geometry((1, 1), (2, 2))),
    conv_weight("vgg-128-from-64", 64, 64, 128, 112, Geometry((3, 3), padding=(1, 1))),
    conv_weight("vgg-1", 64, 3, 64, 224, Geometry((3, 3), padding=(1, 1))),
    conv_weight("vgg-512", 64, 512, 512, 14, Geometry((3, 3), padding=(1, 1))),
    *locally_connected("16-to-32", 32, 16, 32, 32, Geometry((3, 3))),
    *locally_connected("deepface-l4", 128, 16, 16, 63, Geometry((9, 9))),
    *locally_connected("deepface-l5", 128, 16, 16, 55, Geometry((7, 7), (2, 2))),
]  # fmt: skip
