"""Calls of every operator, recorded from the functions that make them, forward and backward.

A function is run on the case tables; what it asks of the operators are the cases of their kernels.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

import layers.functional as L
from layers.ops.geometry import Geometry
from layers.ops.registry import record
from tests.cases import CONV, POOL, UNDILATED, ConvCase, PoolCase

WINOGRAD = [
    ConvCase("one-tile", (2, 3, 6, 6), 4),
    ConvCase("tiles", (2, 3, 8, 12), 4, padding=(1, 1)),
    ConvCase("tiles-hang-over", (2, 3, 7, 9), 4, padding=(1, 1)),
    ConvCase("less-than-a-tile", (1, 2, 3, 4), 2),
    ConvCase("wide-padding", (2, 2, 5, 5), 3, padding=(2, 2)),
    ConvCase("padding-of-two-sorts", (2, 2, 5, 6), 3, padding=(0, 2)),
    ConvCase("groups", (2, 4, 5, 6), 6, padding=(1, 1), groups=2),
    ConvCase("depthwise", (2, 4, 5, 5), 8, groups=4),
    ConvCase("many-filters", (2, 3, 7, 9), 40, padding=(1, 1)),
    ConvCase("filters-in-groups", (2, 4, 6, 6), 80, groups=2),
    ConvCase("more-channels-than-lanes", (1, 70, 5, 6), 66, padding=(1, 1)),
    ConvCase("empty-batch", (0, 3, 6, 6), 4),
]
MORE_CONV = [
    ConvCase("auto-winograd", (1, 48, 8, 8), 48, padding=(1, 1)),
    ConvCase("many-images", (5, 24, 7, 8), 26, padding=(1, 1)),
    ConvCase("pointwise-large-maps", (3, 6, 12, 12), 5, (1, 1)),
    ConvCase("pointwise-large-maps-groups", (3, 6, 12, 12), 4, (1, 1), groups=2),
    ConvCase("pointwise-empty-batch", (0, 5, 12, 12), 3, (1, 1)),
    ConvCase("rows-of-padding-alone", (1, 2, 3, 4), 3, padding=(5, 5)),
    ConvCase("rows-of-padding-alone-channels-last", (1, 30, 3, 4), 3, padding=(5, 5)),
    ConvCase("one-pixel", (3, 5, 1, 1), 4, (1, 1)),
]
MORE_POOL = [
    PoolCase("long-rows", (2, 3, 9, 30), (3, 3)),
    PoolCase("long-rows-padded-ceil", (2, 3, 8, 29), (3, 3), padding=(1, 1), ceil_mode=True),
    PoolCase("long-rows-dilated", (2, 2, 9, 40), (3, 2), (2, 3), (1, 1), (2, 2)),
    PoolCase("one-channel", (2, 1, 7, 7), (3, 3)),
    PoolCase("more-channels-than-lanes", (1, 70, 5, 5), (3, 3)),
]
LOCAL = [ConvCase("plain", (2, 3, 6, 6), 4), *(case for case in CONV if case.id in (
    "empty-batch", "padded", "stride-leaves-rest", "dilated", "groups", "not-square", "everything",
))]  # fmt: skip


class Function(NamedTuple):
    id: str
    shapes: tuple  # of its tensors; the first are images
    compute: Callable


def _conv(case, **more):
    options = case.options | more
    return lambda x, w: L.conv2d(x, w, None, **options)


def _pool(case):
    arguments = case.kernel, case.stride, case.padding, case.dilation, case.ceil_mode
    return lambda x: L.max_pool2d(x, *arguments)


def _forward_derivative(case):
    """At fixed switches max-pooling is linear: what it makes of the tangents."""
    pool = _pool(case)
    return lambda x: torch.func.jvp(pool, (x,), (x,))[1]


def _average(case):
    return lambda x: L.avg_pool2d(x, case.kernel, case.stride, case.padding, case.ceil_mode)


def _local(case):
    kernel, stride, padding, dilation = case.kernel, case.stride, case.padding, case.dilation
    return lambda x, w: L.locally_connected2d(x, w, None, kernel, stride, padding, dilation)


def _local_weight(case):
    geometry = Geometry(case.kernel, case.stride, case.padding, case.dilation, case.groups)
    fan_in = case.weight[1] * case.kernel[0] * case.kernel[1]
    return (
        *geometry.output_size(case.image[2:]), case.groups, fan_in, case.filters // case.groups,
    )  # fmt: skip


FUNCTIONS = [
    *(Function(f"conv2d-{c.id}", (c.image, c.weight), _conv(c)) for c in CONV + MORE_CONV),
    *(
        Function(f"winograd-{c.id}", (c.image, c.weight), _conv(c, algorithm="winograd"))
        for c in WINOGRAD
    ),
    *(Function(f"local-{c.id}", (c.image, _local_weight(c)), _local(c)) for c in LOCAL),
    *(Function(f"max_pool2d-{c.id}", (c.image,), _pool(c)) for c in POOL + MORE_POOL),
    *(
        Function(f"max_pool2d-jvp-{c.id}", (c.image,), _forward_derivative(c))
        for c in POOL + MORE_POOL
    ),
    *(
        Function(f"avg_pool2d-{c.id}", (c.image,), _average(c))
        for c in UNDILATED + [c for c in MORE_POOL if c.dilation == (1, 1)]
    ),
    *(
        Function(
            f"lp_pool2d-{p}-{c.id}", (c.image,),
            lambda x, c=c, p=p: L.lp_pool2d(x, p, c.kernel, c.stride, c.ceil_mode),
        )
        for c in UNDILATED + [c for c in MORE_POOL if c.dilation == (1, 1)]
        for p in (2, 3)
        if c.padding == (0, 0)
    ),
    *(
        Function(
            f"batch_norm-{'x'.join(map(str, shape))}", (shape, shape[1:2], shape[1:2]),
            lambda x, w, b: L.batch_norm(x, None, None, w, b, training=True),
        )
        for shape in [(2, 3, 4, 5), (300, 2, 1, 1), (2, 1, 40, 40), (3, 70, 3, 3)]
    ),
    *(
        Function(
            f"local_response_norm-{size}-{beta}-{'x'.join(map(str, shape))}", (shape,),
            lambda x, size=size, beta=beta: L.local_response_norm(x, size, 0.5, beta, 2.0),
        )
        for size in (1, 4, 5)
        for beta in (0.75, 0.5)
        for shape in [(2, 7, 3, 5), (1, 3, 12, 12), (0, 3, 4, 4)]
    ),
    *(
        Function(f"relu-{'x'.join(map(str, shape))}", (shape,), L.relu)
        for shape in [(2, 3, 4, 5), (0, 3, 2, 2)]
    ),
]  # fmt: skip


def recorded(function, layout, dtype):
    """The calls of operators that a function makes, forward and backward."""
    torch.manual_seed(0)
    images, *others = function.shapes
    x = layout(torch.randn(images).to(dtype)).requires_grad_()
    inputs = [x, *(torch.randn(shape).to(dtype).requires_grad_() for shape in others)]
    with record() as calls:
        y = function.compute(*inputs)
        upstream = layout(torch.randn(y.shape).to(y.dtype))
        torch.autograd.grad(y, inputs, upstream)
    return calls
