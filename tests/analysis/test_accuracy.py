"""What counts as an error, and that no derivative escapes it."""

import math

import pytest
import torch

from analysis import accuracy
from analysis.setting import Setting

SETTING = Setting()
DOUBLE = Setting(dtype=torch.float64)


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


def test_what_is_nearly_zero_may_be_measured_on_a_larger_scale():
    assert accuracy.error(torch.tensor([2.0]), torch.tensor([1.0]), least=100) == 0.01


def test_a_gradient_that_does_not_arrive_is_an_error():
    assert accuracy.error(None, torch.ones(1)) == math.inf
    assert accuracy.error(None, None) == 0


def test_the_worst_error_keeps_nan():
    assert accuracy.worst({"a": 1.0, "b": 2.0}) == 2
    assert math.isnan(accuracy.worst({"a": math.nan, "b": 2.0}))
    assert accuracy.worst({}) == 0


def test_distance_is_of_all_numbers_together():
    found = {"a": torch.tensor([3.0]), "b": torch.tensor([0.0])}
    assert accuracy.distance(found, {"a": torch.tensor([3.0]), "b": torch.tensor([4.0])}) == 0.8
    assert accuracy.distance({"a": None}, {"a": torch.ones(1)}) == math.inf
    assert accuracy.distance({"a": None, "b": torch.ones(1)}, {"a": None, "b": torch.ones(1)}) == 0


class Square(torch.autograd.Function):
    """y = x^2, its derivative times `slope`, the derivative's derivative times `bend`."""

    @staticmethod
    def forward(ctx, x, slope, bend):
        ctx.save_for_backward(x)
        ctx.factors = slope, bend
        return x * x

    @staticmethod
    def backward(ctx, dy):
        (x,), (slope, bend) = ctx.saved_tensors, ctx.factors
        return slope * 2 * dy * (bend * x + (1 - bend) * x.detach()), None, None


class Layer(torch.nn.Module):
    def __init__(self, slope=1.0, bend=1.0):
        super().__init__()
        self.factors = slope, bend
        self.weight = torch.nn.Parameter(torch.ones(5, dtype=torch.float64))

    def forward(self, x):
        return self.weight * Square.apply(x, *self.factors)


@pytest.mark.parametrize(
    ("layer", "first", "second"),
    [(Layer(), 0, 0), (Layer(slope=1.1), 0.1, None), (Layer(bend=0.0), 0, None)],
)
def test_wrong_derivatives_of_either_order_are_seen(layer, first, second):
    x = [DOUBLE.leaf(DOUBLE.numbers((4, 5), seed=0))]
    exact = Layer()
    errors = accuracy.errors(
        accuracy.derivatives(layer, x, DOUBLE), accuracy.derivatives(exact, x, DOUBLE)
    )
    assert errors["input"] == pytest.approx(first, abs=1e-12)
    assert errors["output"] == errors["weight"] == 0
    bent = accuracy.errors(
        accuracy.second_derivatives(layer, x, DOUBLE),
        accuracy.second_derivatives(exact, x, DOUBLE),
    )
    assert bent.keys() == {"input", "weight", "upstream"}
    assert (accuracy.worst(bent) < 1e-12) == (second == 0)


def test_the_twin_gets_the_very_numbers():
    coarse = Setting(dtype=torch.bfloat16)
    x = coarse.leaf(coarse.numbers((2, 3), seed=0))
    (wide,) = accuracy.doubled([x])
    assert torch.equal(wide, x.double())
    assert wide.dtype == torch.float64
    assert torch.equal(coarse.numbers((2, 3), seed=0), coarse.numbers((2, 3), seed=0))


def test_every_precision_has_its_tolerances():
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        assert torch.finfo(dtype).eps < accuracy.LAYER[dtype] <= accuracy.NETWORK[dtype]


def test_images_lie_as_the_setting_says():
    last = Setting(memory_format=torch.channels_last)
    layer = last.place(torch.nn.Conv2d(2, 3, 3))
    x = last.leaf(last.numbers((2, 2, 5, 5), seed=0))
    for volume in (x, layer.weight):
        assert volume.is_contiguous(memory_format=torch.channels_last)
    assert last.leaf(last.numbers((2, 5), seed=0)).is_contiguous()
    assert SETTING.place(layer).weight.is_contiguous()
    assert not layer.weight.is_contiguous()  # the original is left alone
