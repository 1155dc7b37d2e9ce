"""Relative errors, and the derivatives they are computed from."""

import math

import pytest
import torch

from analysis import accuracy
from analysis.benchmark_config import BenchmarkConfig

CONFIG = BenchmarkConfig()
DOUBLE = BenchmarkConfig(dtype=torch.float64)


@pytest.mark.parametrize(
    ("found", "expected", "error"),
    [
        ([1.0, 100.0], [2.0, 100.0], 0.01),  # relative to the largest
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([], [], 0.0),
        ([1.0], [0.0], math.inf),
        ([1.0, 2.0], [1.0], math.inf),
        ([math.nan, 1.0], [1.0, 1.0], math.nan),
    ],
)
def test_error(found, expected, error):
    measured = accuracy.error(torch.tensor(found), torch.tensor(expected))
    assert measured == pytest.approx(error, nan_ok=True)


def test_errors_can_be_relative_to_a_larger_scale():
    assert accuracy.error(torch.tensor([2.0]), torch.tensor([1.0]), least=100) == 0.01


def test_a_missing_gradient_is_an_infinite_error():
    assert accuracy.error(None, torch.ones(1)) == math.inf
    assert accuracy.error(None, None) == 0


def test_worst_propagates_nan():
    assert accuracy.worst({"a": 1.0, "b": 2.0}) == 2
    assert math.isnan(accuracy.worst({"a": math.nan, "b": 2.0}))
    assert accuracy.worst({}) == 0


def test_distance_treats_all_tensors_as_one_vector():
    found = {"a": torch.tensor([3.0]), "b": torch.tensor([0.0])}
    assert accuracy.distance(found, {"a": torch.tensor([3.0]), "b": torch.tensor([4.0])}) == 0.8
    assert accuracy.distance({"a": None}, {"a": torch.ones(1)}) == math.inf
    assert accuracy.distance({"a": None, "b": torch.ones(1)}, {"a": None, "b": torch.ones(1)}) == 0


class Square(torch.autograd.Function):
    """y = x^2, with the first derivative scaled by `first` and the second also by `second`."""

    @staticmethod
    def forward(ctx, x, first, second):
        ctx.save_for_backward(x)
        ctx.factors = first, second
        return x * x

    @staticmethod
    def backward(ctx, dy):
        (x,), (first, second) = ctx.saved_tensors, ctx.factors
        return first * 2 * dy * (second * x + (1 - second) * x.detach()), None, None


class Layer(torch.nn.Module):
    def __init__(self, first=1.0, second=1.0):
        super().__init__()
        self.factors = first, second
        self.weight = torch.nn.Parameter(torch.ones(5, dtype=torch.float64))

    def forward(self, x):
        return self.weight * Square.apply(x, *self.factors)


@pytest.mark.parametrize(
    ("layer", "first", "second"),
    [(Layer(), 0, 0), (Layer(first=1.1), 0.1, None), (Layer(second=0.0), 0, None)],
)
def test_wrong_first_and_second_derivatives_are_detected(layer, first, second):
    x = [DOUBLE.leaf(DOUBLE.randn((4, 5), seed=0))]
    exact = Layer()
    errors = accuracy.errors(
        accuracy.derivatives(layer, x, DOUBLE), accuracy.derivatives(exact, x, DOUBLE)
    )
    assert errors["input"] == pytest.approx(first, abs=1e-12)
    assert errors["output"] == errors["weight"] == 0
    second_errors = accuracy.errors(
        accuracy.second_derivatives(layer, x, DOUBLE),
        accuracy.second_derivatives(exact, x, DOUBLE),
    )
    assert second_errors.keys() == {"input", "weight", "upstream"}
    assert (accuracy.worst(second_errors) < 1e-12) == (second == 0)


def test_the_float64_twin_gets_exactly_the_same_input():
    coarse = BenchmarkConfig(dtype=torch.bfloat16)
    x = coarse.leaf(coarse.randn((2, 3), seed=0))
    (exact,) = accuracy.to_float64([x])
    assert torch.equal(exact, x.double())
    assert exact.dtype == torch.float64
    assert torch.equal(coarse.randn((2, 3), seed=0), coarse.randn((2, 3), seed=0))


def test_every_dtype_has_tolerances():
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        layer, network = accuracy.LAYER_TOLERANCE[dtype], accuracy.NETWORK_TOLERANCE[dtype]
        assert torch.finfo(dtype).eps < layer <= network


def test_images_and_filters_have_the_configured_memory_format():
    last = BenchmarkConfig(memory_format=torch.channels_last)
    layer = last.prepare(torch.nn.Conv2d(2, 3, 3))
    x = last.leaf(last.randn((2, 2, 5, 5), seed=0))
    for volume in (x, layer.weight):
        assert volume.is_contiguous(memory_format=torch.channels_last)
    assert last.leaf(last.randn((2, 5), seed=0)).is_contiguous()
    assert CONFIG.prepare(layer).weight.is_contiguous()
    assert not layer.weight.is_contiguous()  # the original is not modified
