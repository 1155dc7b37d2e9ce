"""Mixed precision: the dtype that torch's operator has inside `torch.autocast`, on each device.

Devices that are not there are fake ones (FakeTensorMode): torch's own dispatcher says what its
operators do with them.
"""

from contextlib import contextmanager, nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing import assert_close

import layers
import layers.functional as L
from layers.interop.autocast import FLOAT32
from tests.cases import fake_cuda


@contextmanager
def autocast(device, dtype):
    """torch.autocast, also for a device that is not there."""
    before = torch.get_autocast_dtype(device)
    torch.set_autocast_enabled(device, True)
    torch.set_autocast_dtype(device, dtype)
    try:
        yield
    finally:
        torch.set_autocast_enabled(device, False)
        torch.set_autocast_dtype(device, before)
        torch.clear_autocast_cache()


def classes():
    return torch.tensor([0, 1])


def statistics(x):
    """A running mean and variance for numbers like these: half precision has float32 ones."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return torch.zeros(4, dtype=dtype), torch.ones(4, dtype=dtype)


OPERATORS = {
    "adaptive_avg_pool2d": lambda M, x: M.adaptive_avg_pool2d(x, 3),
    "avg_pool2d": lambda M, x: M.avg_pool2d(x, 2),
    "batch_norm": lambda M, x: M.batch_norm(x, *statistics(x)),
    "batch_norm-training": lambda M, x: M.batch_norm(x, None, None, training=True),
    "conv2d": lambda M, x: M.conv2d(x, torch.ones(4, 4, 3, 3, dtype=x.dtype)),
    "cross_entropy": lambda M, x: M.cross_entropy(x.amax((2, 3)), classes()),
    "cross_entropy-none": lambda M, x: M.cross_entropy(x.amax((2, 3)), classes(), reduction="none"),
    "cross_entropy-probabilities": lambda M, x: M.cross_entropy(x.amax((2, 3)), x.amin((2, 3))),
    "cross_entropy-weights": lambda M, x: M.cross_entropy(
        x.amax((2, 3)), classes(), torch.ones(4, dtype=x.dtype)
    ),
    "dropout": lambda M, x: M.dropout(x, 0.0),
    "linear": lambda M, x: M.linear(x, torch.ones(5, 8, dtype=x.dtype)),
    "local_response_norm": lambda M, x: M.local_response_norm(x, 3),
    "log_softmax": lambda M, x: M.log_softmax(x, 1),
    "lp_pool2d": lambda M, x: M.lp_pool2d(x, 2.0, 2),
    "lp_pool2d-3": lambda M, x: M.lp_pool2d(x.abs(), 3.0, 2),
    "max_pool2d": lambda M, x: M.max_pool2d(x, 2),
    "max_unpool2d": lambda M, x: M.max_unpool2d(
        x, torch.arange(64).view(8, 8).mul(4).expand(2, 4, 8, 8), 2
    ),
    "relu": lambda M, x: M.relu(x),
    "softmax": lambda M, x: M.softmax(x, 1),
    "tanh": lambda M, x: M.tanh(x),
}
HALVES = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=fake_cuda), "mps", "xpu"])
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("low", HALVES, ids=str)
def test_dtypes_are_torch_s_on_every_device(low, name, device):
    for dtype in (torch.float32, torch.float64, low):
        here = nullcontext() if device == "cpu" else FakeTensorMode()
        with here, torch.device(device), autocast(device, low):
            x = torch.rand(2, 4, 8, 8, dtype=dtype)
            ours, theirs = (OPERATORS[name](M, x) for M in (L, F))
            assert ours.dtype == theirs.dtype
            if device == "cpu":
                assert_close(ours, theirs, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("low", HALVES, ids=str)
def test_float32_inside_autocast_has_gradients_of_the_input_s_dtype(low):
    for name in FLOAT32["cpu"]:
        x = torch.rand(2, 4, 8, 8, dtype=low, requires_grad=True)
        with autocast("cpu", low):
            y = OPERATORS[name](L, x)
        (dx,) = torch.autograd.grad(y.sum(), x)
        assert (y.dtype, dx.dtype) == (torch.float32, low)


def test_the_lists_name_operators():
    for names in FLOAT32.values():
        assert names <= set(L.__all__)


@pytest.mark.parametrize("low", HALVES, ids=str)
@pytest.mark.parametrize(
    "name",
    ["softmax", "log_softmax", "cross_entropy", "lp_pool2d"],
)
def test_half_precision_errs_no_more_than_twice_torch_s(name, low):
    x = (3 * torch.randn(2, 4, 32, 32)).to(low)
    exact = x.double().requires_grad_()
    y = OPERATORS[name](F, exact)
    upstream = torch.randn_like(y).to(low)
    (dx,) = torch.autograd.grad(y, exact, upstream.double())
    errors = []
    for M in (L, F):
        half = x.clone().requires_grad_()
        value = OPERATORS[name](M, half)
        (slope,) = torch.autograd.grad(value, half, upstream)
        errors.append([torch.dist(value.double(), y), torch.dist(slope.double(), dx)])
    for ours, theirs in zip(*errors, strict=True):
        assert ours <= 2 * theirs + 1e-7


@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "definitions"])
@pytest.mark.parametrize(
    ("image", "weight", "groups"),
    [
        ((2, 2, 20, 20), (4, 2, 3, 3), 1), ((2, 8, 20, 20), (4, 8, 1, 1), 1),
        ((2, 3, 9, 9), (6, 1, 3, 3), 3), ((2, 30, 9, 9), (30, 30, 3, 3), 1),
    ],
    ids=str,
)  # fmt: skip
def test_backward_inside_autocast_of_a_forward_outside_keeps_its_precision(
    image, weight, groups, kernels
):
    """What was computed in float32 is differentiated in float32, as torch.nn does."""
    x, weight = torch.randn(image, requires_grad=True), torch.randn(weight, requires_grad=True)
    with layers.backends.kernels.flags(kernels):
        y = L.conv2d(x, weight, groups=groups)
    dy = torch.randn_like(y)
    expected = torch.autograd.grad(y, (x, weight), dy, retain_graph=True)
    with torch.autocast("cpu", torch.bfloat16):
        inside = torch.autograd.grad(y, (x, weight), dy)
    for a, b in zip(inside, expected, strict=True):
        assert torch.equal(a, b)
