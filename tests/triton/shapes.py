"""Calls at the sizes that networks make them at, for kernels that are compiled and not run."""

from collections.abc import Callable
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

SHAPES = [
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
]  # fmt: skip
