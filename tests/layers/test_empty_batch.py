"""Images without numbers: torch's output or refusal, and gradients of zero, by every kernel."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import layers.functional as L
import models
from tests.cases import ConvCase, channels_last, contiguous, table

CONV = [
    ConvCase("pointwise", (0, 4, 12, 12), 8, (1, 1)),
    ConvCase("pointwise-small-maps", (0, 4, 3, 3), 8, (1, 1)),
    ConvCase("pointwise-wide", (0, 256, 20, 20), 64, (1, 1)),
    ConvCase("pointwise-groups", (0, 4, 12, 12), 8, (1, 1), groups=2),
    ConvCase("pointwise-stride", (0, 4, 12, 12), 8, (1, 1), (2, 2)),
    ConvCase("thin", (0, 3, 12, 12), 8, (5, 5), padding=(2, 2)),
    ConvCase("thin-stride", (0, 3, 32, 32), 8, (7, 7), (2, 2), (3, 3)),
    ConvCase("few-filters", (0, 64, 12, 12), 2, padding=(1, 1)),
    ConvCase("im2col", (0, 64, 12, 12), 8, padding=(1, 1)),
    ConvCase("dilated", (0, 30, 12, 12), 40, dilation=(2, 2)),
    ConvCase("winograd", (0, 64, 12, 12), 64, padding=(1, 1)),
    ConvCase("winograd-deep", (0, 256, 12, 12), 256, padding=(1, 1)),
    ConvCase("groups", (0, 64, 12, 12), 64, padding=(1, 1), groups=2),
    ConvCase("depthwise", (0, 4, 12, 12), 4, groups=4),
    ConvCase("whole-image", (0, 16, 7, 7), 32, (7, 7)),
    ConvCase("same", (0, 3, 12, 12), 8, (4, 4), padding="same"),
]
IMAGES = [
    (0, 4, 40, 40), (0, 64, 20, 20), (0, 1, 40, 40),
    (0, 4, 8, 8), (2, 0, 8, 8), (2, 4, 0, 8), (0, 4, 0, 8), (0, 8, 8), (4, 8, 0),
]  # fmt: skip


def outcome(function, inputs):
    """A result, or the type of the exception."""
    try:
        return function(*inputs)
    except (RuntimeError, IndexError) as error:
        return type(error)


def check(ours, theirs, *inputs):
    """torch's output or refusal; zeros for gradients, and zeros for the gradients of those.

    Where a dimension other than the batch is empty, torch's own adaptive pooling has no gradient.
    """
    y, expected = (outcome(function, inputs) for function in (ours, theirs))
    if isinstance(expected, type):
        assert y is expected
        return
    assert_close(y, expected, equal_nan=True)  # the mean of no pixels
    first = torch.autograd.grad(y.sum(), inputs, create_graph=True)
    assert_close(first, tuple(torch.zeros_like(x) for x in inputs))
    if any(gradient.requires_grad for gradient in first):
        total = sum(gradient.sum() for gradient in first)
        second = torch.autograd.grad(total, inputs, allow_unused=True)
        assert not any(gradient.any() for gradient in second if gradient is not None)


def empty(*shapes, layout=contiguous):
    """An image, laid out if it has the four dimensions for that, and parameters."""
    image, *others = (torch.randn(shape) for shape in shapes)
    image = layout(image) if image.dim() == 4 else image
    return tuple(x.requires_grad_() for x in (image, *others))


@pytest.mark.parametrize("layout", [contiguous, channels_last])
@table(CONV)
def test_convolution(case, layout):
    inputs = empty(case.image, case.weight, (case.filters,), layout=layout)
    check(*(lambda *i, nn=nn: nn.conv2d(*i, **case.options) for nn in (L, F)), *inputs)


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("image", IMAGES, ids=str)
def test_convolution_of_nothing_makes_nothing(image, padding):
    inputs = empty(image, (6, 4, 3, 3))
    check(*(lambda *i, nn=nn: nn.conv2d(*i, padding=padding) for nn in (L, F)), *inputs)


@pytest.mark.parametrize("groups", [1, 2])
def test_locally_connected(groups):
    inputs = empty((0, 4, 8, 8), (6, 6, groups, 36 // groups, 5), (5 * groups, 6, 6))
    y = L.locally_connected2d(*inputs, 3)
    assert y.shape == (0, 5 * groups, 6, 6)
    assert not any(g.any() for g in torch.autograd.grad(y.sum(), inputs))


@pytest.mark.parametrize("layout", [contiguous, channels_last])
@pytest.mark.parametrize("image", IMAGES, ids=str)
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("max_pool2d", (2,)),
        ("max_pool2d", (3, 2, 1)),
        ("max_pool2d", (20,)),
        ("avg_pool2d", (2,)),
        ("avg_pool2d", (2, 2, 1)),
        ("avg_pool2d", (3, 2, 1)),
        ("lp_pool2d", (2, 2)),
        ("lp_pool2d", (2, 3, 2)),
        ("lp_pool2d", (3, 2)),
        ("adaptive_avg_pool2d", (0,)),
        ("adaptive_avg_pool2d", (1,)),
        ("adaptive_avg_pool2d", (2,)),
        ("adaptive_avg_pool2d", ((3, 0),)),
        ("adaptive_avg_pool2d", ((3, 5),)),
        ("adaptive_avg_pool2d", ((3, 7),)),
        ("relu", ()),
        ("tanh", ()),
    ],
)
def test_pooling_and_activations(name, arguments, image, layout):
    check(
        *(lambda x, nn=nn: getattr(nn, name)(x, *arguments) for nn in (L, F)),
        *empty(image, layout=layout),
    )


def test_adaptive_pooling_to_nothing():
    pool = (lambda x, nn=nn: nn.adaptive_avg_pool2d(x, (0, 5)) for nn in (L, F))
    check(*pool, *empty((2, 3, 4, 4)))


def test_unpooling():
    indices = torch.zeros(0, 4, 5, 5, dtype=torch.int64)
    unpool = (lambda x, nn=nn: nn.max_unpool2d(x, indices, 2) for nn in (L, F))
    check(*unpool, *empty((0, 4, 5, 5)))


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("name", ["resnet50", "googlenet", "preact_resnet50"])
def test_networks(name, training):
    model = models.build(name, num_classes=10).train(training)
    outputs = model(torch.zeros(0, 3, 224, 224))
    outputs = outputs if isinstance(outputs, torch.Tensor) else outputs[0]
    assert outputs.shape == (0, 10)
    outputs.sum().backward()
    assert not any(p.grad.any() for p in model.parameters() if p.grad is not None)
