"""Every layer, forward and every gradient, against torch.nn's in float64 on the same device."""

import pytest
import torch

import layers
from analysis import accuracy
from analysis.benchmark_config import BenchmarkConfig, to_memory_format
from analysis.gpu.precision import autocast, float32_products
from analysis.names import PRECISIONS
from tests.layers.test_contract import LAYERS, LayerCase

# The largest difference, relative to the largest number of a tensor: tf32 has 10 bits of mantissa.
TOLERANCE = {"ieee": 2e-5, "tf32": 3e-3, "bf16": 4e-2}
MEMORY_FORMATS = [torch.contiguous_format, torch.channels_last]

# Sizes that fill more than one tile of a kernel, and leave a rest.
LARGER = [
    LayerCase(
        f"Conv2d-{name}",
        "Conv2d",
        dict(in_channels=c, out_channels=k, kernel_size=size, **options),
        (4, c, pixels, pixels),
    )
    for name, c, k, size, pixels, options in [
        ("3x3", 64, 96, 3, 14, dict(padding=1)),
        ("3x3-rest", 65, 50, 3, 13, dict(padding=1, bias=False)),
        ("3x3-stride", 64, 128, 3, 15, dict(padding=1, stride=2)),
        ("3x3-stride-dilated", 32, 32, 3, 15, dict(padding=2, stride=2, dilation=2)),
        ("3x3-dilated-along", 32, 32, 3, 15, dict(padding=2, stride=(1, 4), dilation=(1, 2))),
        ("1x1-wide", 128, 64, 1, 14, dict()),
        ("1x1-stride", 64, 96, 1, 14, dict(stride=2)),
        ("5x5-groups", 48, 64, 5, 13, dict(padding=2, groups=2)),
        ("7x7-stride", 3, 64, 7, 33, dict(padding=3, stride=2)),
        ("11x11-stride", 3, 48, 11, 67, dict(stride=4)),
        ("dilated", 32, 32, 3, 17, dict(padding=2, dilation=2)),
        ("depthwise", 64, 64, 3, 14, dict(padding=1, groups=64)),
    ]
] + [
    LayerCase("Linear-wide", "Linear", dict(in_features=300, out_features=257), (64, 300)),
    LayerCase(
        "LocallyConnected2d-wide",
        "LocallyConnected2d",
        dict(in_channels=20, out_channels=33, image_size=13, kernel_size=3),
        (6, 20, 13, 13),
    ),
    LayerCase("MaxPool2d-wide", "MaxPool2d", dict(kernel_size=3, stride=2), (8, 70, 27, 27)),
    LayerCase(
        "MaxPool2d-ceil", "MaxPool2d", dict(kernel_size=2, ceil_mode=True), (4, 33, 15, 15)
    ),
    LayerCase("LPPool2d-wide", "LPPool2d", dict(norm_type=2, kernel_size=3, stride=2),
              (4, 33, 15, 15)),
    LayerCase("LocalResponseNorm-wide", "LocalResponseNorm", dict(size=5, alpha=0.5, k=2.0),
              (4, 96, 13, 13)),
    LayerCase("BatchNorm2d-training", "BatchNorm2d", dict(num_features=70), (8, 70, 13, 13)),
    LayerCase("ReLU-wide", "ReLU", dict(), (8, 70, 27, 27)),
    LayerCase("Softmax-wide", "Softmax", dict(dim=1), (130, 1000)),
]  # fmt: skip
CASES = [*LAYERS, *LARGER]
each_layer = pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])


def layer_and_reference(case, device):
    """Ours in float32, and torch.nn's with the same numbers in float64."""
    ours, reference = case.build(), case.build(torch.nn)
    reference.load_state_dict(ours.state_dict())
    return ours.to(device), reference.to(device).double()


def image(case, device, layout):
    x = torch.randn(case.image).to(device)
    return to_memory_format(x, layout).requires_grad_()


@each_layer
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("layout", MEMORY_FORMATS, ids=["NCHW", "NHWC"])
@pytest.mark.usefixtures("memory_of_nan")
def test_output_and_gradients(case, precision, layout, device):
    ours, reference = layer_and_reference(case, device)
    for parameter in ours.parameters():
        parameter.data = to_memory_format(parameter.data, layout)
    x = image(case, device, layout)
    config = BenchmarkConfig(torch.device(device))
    with float32_products(precision), autocast(precision, device):
        found = accuracy.derivatives(ours, [x], config)
    exact = accuracy.to_float64([x.detach().contiguous()])  # torch's plainest kernels
    expected = accuracy.derivatives(reference, exact, config)
    errors = accuracy.errors(found, expected)
    assert accuracy.worst(errors) <= TOLERANCE[precision], errors


@each_layer
def test_second_derivatives(case, device):
    if case.name == "Softmax" and len(case.image) == 2 and device == "cpu":
        pytest.skip("as small ones, only slower")
    ours, reference = layer_and_reference(case, device)
    x = image(case, device, torch.contiguous_format)
    config = BenchmarkConfig(torch.device(device))
    found = accuracy.second_derivatives(ours, [x], config)
    expected = accuracy.second_derivatives(reference, accuracy.to_float64([x]), config)
    errors = accuracy.errors(found, expected)
    assert accuracy.worst(errors) <= 10 * TOLERANCE["ieee"], errors


@pytest.mark.parametrize("precision", PRECISIONS)
def test_cross_entropy(precision, device):
    scores = torch.randn(130, 1000, device=device, requires_grad=True)
    targets = torch.arange(130, device=device) % 1000
    with autocast(precision, device):
        loss = layers.CrossEntropyLoss(label_smoothing=0.1)(scores, targets)
    (found,) = torch.autograd.grad(loss, scores)
    exact = scores.detach().double().requires_grad_()
    reference = torch.nn.CrossEntropyLoss(label_smoothing=0.1)(exact, targets)
    (expected,) = torch.autograd.grad(reference, exact)
    assert accuracy.error(loss, reference) <= TOLERANCE["ieee"]
    assert accuracy.error(found, expected) <= TOLERANCE["ieee"]


def test_unpooling(device):
    x = torch.randn(4, 33, 15, 15, device=device)
    y, switches = layers.functional.max_pool2d_with_switches(x, 3, 2)
    pooled, indices = torch.nn.functional.max_pool2d(x.double(), 3, 2, return_indices=True)
    assert torch.equal(y.double(), pooled)
    back = layers.functional.max_unpool2d(y, switches, 3, 2, output_size=x.shape)
    expected = torch.zeros(4, 33, 225, dtype=torch.float64, device=device)
    expected.scatter_add_(2, indices.flatten(2), pooled.flatten(2))  # where windows overlap, sums
    assert accuracy.error(back, expected.view(x.shape)) <= TOLERANCE["ieee"]


def test_dropout_draws_torch_s_mask(device):
    masks = []
    for nn in (layers, torch.nn):
        torch.manual_seed(0)
        x = torch.ones(1000, device=device, requires_grad=True)
        y = nn.Dropout(0.3)(x)
        (dx,) = torch.autograd.grad(y.sum(), x)
        assert torch.equal(y, dx)
        masks.append(y)
        assert 0.6 < (y > 0).float().mean() < 0.8
    if device == "cpu":  # a GPU's fused kernel draws its own way
        assert torch.equal(*masks)
