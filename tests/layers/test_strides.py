"""Outputs and gradients have the strides that torch.nn's have, number by number.

Whoever calls `x.view(...)` on an output, or hands its memory to other code, relies on them.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F

import layers.functional as L
from tests.cases import channels_last, contiguous, expanded, strided


def channels_last_slice(x):
    """Every other column of channels-last images; a single column lies without gaps."""
    if x.dim() != 4 or x.shape[3] == 1:
        return last(x)
    return channels_last(x.repeat_interleave(2, -1))[..., ::2]


def transposed(x):
    """Rows side by side in memory, instead of columns."""
    return x.mT.contiguous().mT


def ones(x):
    """What `y.sum().backward()` sends: a single number, all strides 0."""
    return torch.ones((), dtype=x.dtype).expand(x.shape)


def last(x):
    return channels_last(x) if x.dim() == 4 else contiguous(x)


LAYOUTS = [contiguous, last, strided, channels_last_slice, transposed, expanded]
UPSTREAM = [contiguous, last, ones, strided]

PLAIN, SINGLE, EMPTY, ONE_CHANNEL = (2, 4, 6, 6), (1, 4, 6, 6), (0, 4, 6, 6), (2, 1, 6, 6)
PIXELS, PIXEL, ROW = (2, 4, 1, 1), (1, 4, 1, 1), (2, 4, 1, 6)
IMAGES = [PLAIN, SINGLE, EMPTY, ONE_CHANNEL]
ANY = [*IMAGES, PIXELS, PIXEL, ROW]


class Case(NamedTuple):
    """A function of both layer sets on images of each of these shapes, and parameters."""

    id: str
    function: Callable[..., Any]  # of the layer set, the image and the parameters
    images: list = ANY
    parameters: Callable[..., list] = lambda c: []  # their shapes, for c channels
    dtypes: tuple = (torch.float32, torch.float64, torch.bfloat16)


def conv2d(*weight, **options):
    def function(nn, x, weight, bias):
        return nn.conv2d(x, weight, bias, **options)

    def parameters(c):
        groups = options.get("groups", 1)
        return [(6 * groups, c // groups, *weight), (6 * groups,)]

    return function, parameters


def conv_case(id, images, *weight, **options):
    function, parameters = conv2d(*weight, **options)
    return Case(id, function, images, parameters)


def of(name, *arguments, **options):
    """A function of an image alone."""
    return lambda nn, x: getattr(nn, name)(x, *arguments, **options)


def batch_norm(training):
    def function(nn, x, weight, bias):
        running = torch.zeros(x.shape[1], dtype=x.dtype), torch.ones(x.shape[1], dtype=x.dtype)
        return nn.batch_norm(x, *running, weight, bias, training)

    return function


def max_unpool2d(nn, x):
    height, width = x.shape[2:]
    places = torch.arange(height)[:, None] * 4 * width + torch.arange(width) * 2
    return nn.max_unpool2d(x, places.expand(x.shape), 2)


def cross_entropy(probabilities, **options):
    def function(nn, x):
        target = x.detach().softmax(1) if probabilities else x.detach().argmax(1)
        return nn.cross_entropy(x, target, **options)

    return function


def dropout(p, training=True):
    def function(nn, x):
        with torch.random.fork_rng():
            return nn.dropout(x, p, training)

    return function


CONVOLUTIONS = [
    conv_case("conv2d", IMAGES, 3, 3, padding=1),
    conv_case("conv2d-stride", IMAGES, 3, 3, stride=2),
    conv_case("conv2d-dilated", IMAGES, 2, 2, dilation=2),
    conv_case("conv2d-1x1", [*IMAGES, PIXELS, PIXEL], 1, 1),
    conv_case("conv2d-groups", [PLAIN, SINGLE], 3, 3, groups=2),
    conv_case("conv2d-depthwise", [PLAIN, SINGLE], 3, 3, groups=4),
    conv_case("conv2d-whole-image", IMAGES, 6, 6),
]
POOLS = [
    Case("max_pool2d", of("max_pool2d", 3, 2, 1)),
    Case("max_pool2d-1x1", of("max_pool2d", 1)),
    Case("max_pool2d-indices", of("max_pool2d", 2, return_indices=True), IMAGES),
    Case("avg_pool2d", of("avg_pool2d", 3, 2, 1)),
    Case("avg_pool2d-1x1", of("avg_pool2d", 1)),
    Case("avg_pool2d-whole-image", of("avg_pool2d", 6), IMAGES),
    Case("lp_pool2d", of("lp_pool2d", 2, 2), IMAGES),
    Case("lp_pool2d-3", lambda nn, x: nn.lp_pool2d(x.abs(), 3.0, 1)),
    Case("lp_pool2d-inf", of("lp_pool2d", float("inf"), 1)),
    Case("adaptive_avg_pool2d", of("adaptive_avg_pool2d", (4, 5))),
    Case("adaptive_avg_pool2d-grid", of("adaptive_avg_pool2d", (3, 2)), IMAGES),
    Case("adaptive_avg_pool2d-global", of("adaptive_avg_pool2d", 1)),
    Case("max_unpool2d", max_unpool2d),
]
NORMS = [
    Case("batch_norm", batch_norm(True), [*IMAGES, PIXELS, ROW], lambda c: [(c,), (c,)]),
    Case("batch_norm-eval", batch_norm(False), ANY, lambda c: [(c,), (c,)]),
    Case(
        "local_response_norm",
        of("local_response_norm", 3),
        dtypes=(torch.float32, torch.float64),
    ),
]
OTHERS = [
    Case("relu", of("relu")),
    Case("tanh", of("tanh")),
    Case("softmax", of("softmax", 1)),
    Case("softmax-columns", of("softmax", 3)),
    Case("log_softmax", of("log_softmax", 1)),
    Case("cross_entropy", cross_entropy(False), [PLAIN, SINGLE, ONE_CHANNEL, PIXELS]),
    Case("cross_entropy-none", cross_entropy(False, reduction="none", label_smoothing=0.1)),
    Case("cross_entropy-probabilities", cross_entropy(True), [PLAIN, SINGLE, PIXELS]),
    Case("dropout", dropout(0.5)),
    Case("dropout-all", dropout(1.0)),
    Case("dropout-eval", dropout(0.5, training=False)),
    Case(
        "linear", lambda nn, *inputs: nn.linear(*inputs), [PLAIN, EMPTY], lambda c: [(5, 6), (5,)]
    ),
    Case(
        "linear-matrix",
        lambda nn, *inputs: nn.linear(*inputs),
        [(4, 6), (1, 6), (0, 6)],
        lambda c: [(5, c), (5,)],
    ),
]
CASES = [*CONVOLUTIONS, *POOLS, *NORMS, *OTHERS]


def parts(outputs):
    return [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)


def all_strides(function, inputs, upstream):
    """Of the outputs, and of the gradients by each input; of what has no numbers, the output's."""
    outputs = parts(function(*inputs))
    y = outputs[0]
    found = [t.stride() for t in outputs]
    if y.numel():
        g = torch.ones_like(y, memory_format=torch.contiguous_format)
        g = upstream(g) if g.dim() else g
        found += [g.stride() for g in torch.autograd.grad(y, inputs, g)]
    return found


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_eager(case):
    wrong = []
    for dtype, shape in itertools.product(case.dtypes, case.images):
        parameters = case.parameters(shape[1])
        for layout, weights, upstream in itertools.product(
            LAYOUTS, LAYOUTS[:3] if parameters else LAYOUTS[:1], UPSTREAM
        ):
            x = layout(torch.randn(shape, dtype=dtype)).requires_grad_()
            others = [torch.randn(p, dtype=dtype) for p in parameters]
            others = [weights(p) if p.dim() > 1 else p for p in others]
            inputs = [x, *(p.requires_grad_() for p in others)]
            ours, torchs = (
                all_strides(lambda *i, nn=nn: case.function(nn, *i), inputs, upstream)
                for nn in (L, F)
            )
            if ours != torchs:
                names = layout.__name__, weights.__name__, upstream.__name__
                wrong.append((dtype, shape, *names, "ours", ours, "torch's", torchs))
    assert not wrong, f"{len(wrong)} differ, among them:\n" + "\n".join(map(str, wrong[:20]))
