"""Functions that torch.nn.functional has as well, and ways for their operands to lie in memory."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from layers.interop.memory_format import elementwise_like
from tests.cases import channels_last, contiguous, expanded, strided

PLAIN, SINGLE, EMPTY, ONE_CHANNEL = (2, 4, 6, 6), (1, 4, 6, 6), (0, 4, 6, 6), (2, 1, 6, 6)
PIXELS, PIXEL, ROW = (2, 4, 1, 1), (1, 4, 1, 1), (2, 4, 1, 6)
IMAGES = [PLAIN, SINGLE, EMPTY, ONE_CHANNEL]
ANY = [*IMAGES, PIXELS, PIXEL, ROW]


def last(x):
    """Channels last, if x has the dimensions for that."""
    return channels_last(x) if x.dim() == 4 else contiguous(x)


def last_with_gaps(x):
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


LAYOUTS = [contiguous, last, strided, last_with_gaps, transposed, expanded]
UPSTREAM = [contiguous, last, ones, strided]


class Case(NamedTuple):
    """A function of a layer set, an image of one of these shapes, and parameters."""

    id: str
    function: Callable[..., Any]
    images: list = ANY
    parameters: Callable[[int], list] = lambda channels: []  # their shapes
    dtypes: tuple = (torch.float32, torch.float64, torch.bfloat16)

    def inputs(self, image, layout, weights=contiguous, dtype=torch.float32):
        x = layout(torch.randn(image, dtype=dtype))
        shapes = self.parameters(image[1])
        parameters = [torch.randn(shape, dtype=dtype) for shape in shapes]
        parameters = [weights(p) if p.dim() > 1 else p for p in parameters]
        return [t.requires_grad_() for t in (x, *parameters)]


def of(name, *arguments, **options):
    """A function of an image alone."""
    return lambda nn, x: getattr(nn, name)(x, *arguments, **options)


def conv2d(id, *kernel, images=IMAGES, **options):
    groups = options.get("groups", 1)
    return Case(
        id,
        lambda nn, *inputs: nn.conv2d(*inputs, **options),
        images,
        lambda channels: [(6 * groups, channels // groups, *kernel), (6 * groups,)],
    )


def batch_norm(training):
    def function(nn, x, weight, bias):
        running = torch.zeros(x.shape[1], dtype=x.dtype), torch.ones(x.shape[1], dtype=x.dtype)
        return nn.batch_norm(x, *running, weight, bias, training)

    return function


def max_unpool2d(nn, x):
    height, width = x.shape[-2:]
    places = torch.arange(height)[:, None] * 4 * width + torch.arange(width) * 2
    return nn.max_unpool2d(x, places.expand(x.shape), 2)


def cross_entropy(probabilities, **options):
    def function(nn, x):
        target = x.detach().softmax(1) if probabilities else x.detach().argmax(1)
        return nn.cross_entropy(x, target, **options)

    return function


def linear(nn, *inputs):
    return nn.linear(*inputs)


CASES = [
    conv2d("conv2d", 3, 3, padding=1),
    conv2d("conv2d-stride", 3, 3, stride=2),
    conv2d("conv2d-dilated", 2, 2, dilation=2),
    conv2d("conv2d-1x1", 1, 1, images=[*IMAGES, PIXELS, PIXEL]),
    conv2d("conv2d-groups", 3, 3, images=[PLAIN, SINGLE], groups=2),
    conv2d("conv2d-depthwise", 3, 3, images=[PLAIN, SINGLE], groups=4),
    conv2d("conv2d-whole-image", 6, 6),
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
    Case("global_avg_pool2d", of("adaptive_avg_pool2d", 1)),
    Case("max_unpool2d", max_unpool2d),
    Case("batch_norm", batch_norm(True), [*IMAGES, PIXELS, ROW], lambda c: [(c,), (c,)]),
    Case("batch_norm-eval", batch_norm(False), ANY, lambda c: [(c,), (c,)]),
    Case(
        "local_response_norm", of("local_response_norm", 3), dtypes=(torch.float32, torch.float64)
    ),
    Case("relu", of("relu")),
    Case("tanh", of("tanh")),
    Case("softmax", of("softmax", 1)),
    Case("softmax-columns", of("softmax", 3)),
    Case("log_softmax", of("log_softmax", 1)),
    Case("cross_entropy", cross_entropy(False)),
    Case("cross_entropy-none", cross_entropy(False, reduction="none", label_smoothing=0.1)),
    Case("cross_entropy-probabilities", cross_entropy(True)),
    Case("dropout", of("dropout", 0.5)),
    Case("dropout-all", of("dropout", 1.0)),
    Case("dropout-eval", of("dropout", 0.5, training=False)),
    Case("linear", linear, [PLAIN, EMPTY, (4, 6), (1, 6), (0, 6)], lambda c: [(5, 6), (5,)]),
]


def parts(output):
    """What a function answers, as a list."""
    return [output] if isinstance(output, torch.Tensor) else list(output)


def all_strides(function, inputs, upstream):
    """Of the outputs, and of the first one's gradients by the image and the parameters.

    Gradients of filters that fit both memory formats, as those of 1x1 do, count as contiguous: in
    torch their strides depend on the number of threads.  Gradients by nothing have no numbers.
    """
    outputs = parts(function(*inputs))
    y = outputs[0]
    found = [t.stride() for t in outputs]
    if y.numel() and y.requires_grad:
        dy = torch.ones_like(y, memory_format=torch.contiguous_format)
        dx, *others = torch.autograd.grad(y, inputs, upstream(dy) if y.dim() else dy)
        found += [dx.stride(), *(elementwise_like(g).stride() for g in others)]
    return found
