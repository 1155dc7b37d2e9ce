"""No images at all: an output without numbers, and gradients of zero, by every kernel."""

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


def check(ours, theirs, *inputs):
    """The same shapes, zeros for gradients, and zeros for the gradients of those."""
    results = []
    for function in (ours, theirs):
        y = function(*inputs)
        first = torch.autograd.grad(y.sum(), inputs, create_graph=True)
        second = ()
        if any(gradient.requires_grad for gradient in first):
            total = sum(gradient.sum() for gradient in first)
            second = torch.autograd.grad(total, inputs, allow_unused=True)
        results.append((y, first))
        assert not any(gradient.any() for gradient in (*first, *second) if gradient is not None)
    assert_close(*results)


def empty(*shapes, layout=contiguous):
    image, *others = (torch.randn(shape).requires_grad_() for shape in shapes)
    return (layout(image.detach()).requires_grad_(), *others)


@pytest.mark.parametrize("layout", [contiguous, channels_last])
@table(CONV)
def test_convolution(case, layout):
    inputs = empty(case.image, case.weight, (case.filters,), layout=layout)
    check(*(lambda *i, nn=nn: nn.conv2d(*i, **case.options) for nn in (L, F)), *inputs)


@pytest.mark.parametrize("groups", [1, 2])
def test_locally_connected(groups):
    inputs = empty((0, 4, 8, 8), (6, 6, groups, 36 // groups, 5), (5 * groups, 6, 6))
    y = L.locally_connected2d(*inputs, 3)
    assert y.shape == (0, 5 * groups, 6, 6)
    assert not any(g.any() for g in torch.autograd.grad(y.sum(), inputs))


@pytest.mark.parametrize("layout", [contiguous, channels_last])
@pytest.mark.parametrize("image", [(0, 4, 40, 40), (0, 64, 20, 20), (0, 1, 40, 40)], ids=str)
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("max_pool2d", (2,)),
        ("max_pool2d", (3, 2, 1)),
        ("max_pool2d", (20,)),
        ("avg_pool2d", (2,)),
        ("avg_pool2d", (3, 2, 1)),
        ("lp_pool2d", (2, 3, 2)),
        ("lp_pool2d", (3, 2)),
        ("adaptive_avg_pool2d", (1,)),
        ("adaptive_avg_pool2d", (2,)),
        ("adaptive_avg_pool2d", ((3, 7),)),
    ],
)
def test_pooling(name, arguments, image, layout, way):
    check(
        *(lambda x, nn=nn: getattr(nn, name)(x, *arguments) for nn in (L, F)),
        *empty(image, layout=layout),
    )


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_activations(name, way):
    check(getattr(L, name), getattr(F, name), *empty((0, 4, 5, 5)))


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
