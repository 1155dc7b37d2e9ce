"""compare.py check: right layers pass, and mistakes in wrong ones are explained."""

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from analysis import timing
from analysis.benchmark_config import BenchmarkConfig
from analysis.check import check
from analysis.check_target import Arguments, InvalidCheck

EXAMPLES = Path(__file__).parent.parent.parent / "docs" / "examples"
CONFIG = BenchmarkConfig(seconds=0)


@pytest.fixture(autouse=True)
def no_repetitions(monkeypatch):
    monkeypatch.setattr(timing, "MIN_SECONDS", 0)


def run_check(layer, shape="4,3,9,9", arguments="3, 4, 3, padding=1", against="", config=CONFIG):
    """(whether the layer is right, the report)."""
    lines = []
    name = layer if isinstance(layer, str) else f"{layer.__module__}:{layer.__name__}"
    right = check(name, against, shape, arguments, config, lines.append)
    return right, "\n".join(lines)


def row(report, name):
    """The line of the report that starts with the name, without the name."""
    (line,) = (line for line in report.splitlines() if line.startswith(name))
    return line.removeprefix(name).strip()


def test_a_student_s_convolution_is_right():
    right, report = run_check(f"{EXAMPLES / 'my_conv.py'}:MyConv2d")
    assert right
    assert report.endswith("verdict: right")
    for name in ("output", "gradient by input", "gradient by weight", "second derivatives"):
        assert row(report, name).startswith("pass")
    for option in ("stride=2 ", "padding=0 ", "an empty batch", "float64", "channels_last"):
        assert row(report, option) == "pass"
    assert row(report, "dilation=2").startswith("not supported")
    assert re.search(r"forward\+backward, ms +[\d.]+ +[\d.]+ +[\d.]+ \(", report)


def test_assigning_where_windows_overlap_is_explained():
    right, report = run_check(f"{EXAMPLES / 'wrong_conv.py'}:Assigns")
    assert not right
    assert row(report, "output").startswith("pass")
    assert row(report, "gradient by input").startswith("differs")
    assert row(report, "gradient by weight").startswith("pass")
    assert "a pixel must get the sum of what they send back" in report
    assert "price" not in report


def test_flipped_filters_are_explained():
    right, report = run_check(f"{EXAMPLES / 'wrong_conv.py'}:Flips")
    assert not right
    assert "turned by 180 degrees" in report


class RightConv2d(torch.nn.Conv2d):
    """Right, with every option of its twin."""


class TransposesFilters(torch.nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(x, self.weight.mT, self.bias)


class IgnoresBias(torch.nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(x, self.weight, None)


class ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight, factor):
        ctx.factor = factor
        return weight.clone()

    @staticmethod
    def backward(ctx, dw):
        return dw * ctx.factor, None


class AveragesOverBatch(torch.nn.Conv2d):
    def forward(self, x):
        weight = ScaleGradient.apply(self.weight, 1 / max(1, len(x)))
        return self._conv_forward(x, weight, self.bias)


class NegatesGradient(torch.nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(x, ScaleGradient.apply(self.weight, -1), self.bias)


class DetachesBias(torch.nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(x, self.weight, self.bias.detach())


class PadsOutput(torch.nn.Conv2d):
    def forward(self, x):
        return F.pad(super().forward(x), [0, 1, 0, 0])


class GivesNaN(torch.nn.Conv2d):
    def forward(self, x):
        y = super().forward(x)
        return y / (y > 0)


class Raises(torch.nn.Conv2d):
    def forward(self, x):
        raise ArithmeticError("cannot add")


class DetachesOutput(torch.nn.Conv2d):
    def forward(self, x):
        return super().forward(x).detach()


class IgnoresStride(torch.nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, self.weight, self.bias, 1, self.padding)


class RenamesWeight(torch.nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, padding=0):
        super().__init__()
        self.filters = torch.nn.Parameter(torch.zeros(out_channels, in_channels, kernel_size))


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (TransposesFilters, "its output: rows and columns of its filters are exchanged"),
        (IgnoresBias, "its output: its bias is not added"),
        (AveragesOverBatch, "by weight: it is 0.25 times what it must be: the mean over the batch"),
        (NegatesGradient, "by weight: it is -1 times what it must be: the sign is wrong"),
        (DetachesBias, "its gradient by bias: it does not arrive"),
        (PadsOutput, "its output: its shape is 4 x 4 x 9 x 10 and must be 4 x 4 x 9 x 9"),
        (GivesNaN, "of it is NaN or infinite"),
        (Raises, "its forward pass raises ArithmeticError: cannot add"),
        (DetachesOutput, "its backward pass raises RuntimeError: element 0 of tensors does not"),
        (IgnoresStride, "with stride=2, its output: its shape is 4 x 4 x 9 x 9 and must be"),
    ],
)
def test_a_mistake_is_explained(layer, reason):
    right, report = run_check(layer)
    assert not right
    verdict = report[report.index("verdict: wrong") :]
    assert reason in verdict


def test_a_right_layer_passes_everything():
    right, report = run_check(RightConv2d, arguments="3, 4, kernel_size=3, padding=1")
    assert right
    assert "not supported" not in report
    assert "differs" not in report


def test_different_parameter_names_are_reported():
    right, report = run_check(RenamesWeight, against="torch.nn.Conv2d")
    assert not right
    assert "filters (4, 3, 3)" in report
    assert "weight (4, 3, 3, 3), bias (4,)" in report


class DifferentiableOnce(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy):
        return 2 * dy


class DoublesOnce(torch.nn.Module):
    def forward(self, x):
        return DifferentiableOnce.apply(x)


class Multiplies(torch.nn.Module):
    def forward(self, x):
        return 2 * x


def test_a_missing_second_derivative_is_reported_but_no_mistake():
    right, report = run_check(DoublesOnce, "4,3", "", against=f"{__name__}.Multiplies")
    assert right
    assert "not supported" in row(report, "second derivatives")


class WrongSecondDerivative(torch.nn.Module):
    def forward(self, x):
        return 2 * x + (x - x.detach()) ** 2


def test_a_wrong_second_derivative_is_a_mistake():
    right, report = run_check(WrongSecondDerivative, "4,3", "", against=f"{__name__}.Multiplies")
    assert not right
    assert row(report, "gradient by input").startswith("pass")
    assert "its second derivative by input" in report


class ForgetsRunningStatistics(torch.nn.BatchNorm2d):
    def forward(self, x):
        return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.1, self.eps)


def test_buffers_and_evaluation_mode_are_checked():
    right, report = run_check(ForgetsRunningStatistics, arguments="3")
    assert not right
    assert "its buffer running_mean is wrong after a training step" in report
    assert row(report, "eval()") == "differs"
    assert run_check("torch.nn:BatchNorm2d", arguments="3")[0]


@pytest.mark.parametrize(
    ("layer", "shape", "arguments"),
    [
        ("MaxPool2d", "2,3,9,9", "3, 2"),
        ("AvgPool2d", "2,3,9,9", "2"),
        ("AdaptiveAvgPool2d", "2,3,9,9", "4"),
        ("LPPool2d", "2,3,8,8", "2, 2"),
        ("LocalResponseNorm", "2,7,5,5", "5"),
        ("BatchNorm2d", "4,3,5,5", "3"),
        ("Linear", "4,6", "6, 5"),
        ("Softmax", "4,6", "1"),
        ("Dropout", "4,6", "0.5"),
        ("Conv2d", "2,4,8,8", "4, 6, 3, 1, 1, groups=2"),
    ],
)
def test_our_own_layers_are_right(layer, shape, arguments):
    right, report = run_check(f"layers:{layer}", shape, arguments)
    assert right, report


def test_other_dtypes():
    for dtype in (torch.float64, torch.bfloat16):
        right, report = run_check("layers:Conv2d", config=BenchmarkConfig(dtype=dtype, seconds=0))
        assert right, report


def test_positional_arguments_are_replaced_in_place():
    given = Arguments.parse("3, 4, 5, 2, bias=False")
    changed = given.replaced({"stride": 1, "padding": 2}, torch.nn.Conv2d)
    assert str(changed) == "3, 4, 5, 1, bias=False, padding=2"
    assert str(given) == "3, 4, 5, 2, bias=False"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layer": "Conv2d"}, "write my_module:MyLayer"),
        ({"layer": "layers:Conv"}, "layers has no layer 'Conv': it has"),
        ({"layer": "no_such_module:X"}, "importing no_such_module failed with ModuleNotFound"),
        ({"layer": "no_such_file.py:X"}, "there is no file no_such_file.py"),
        ({"layer": "layers:Conv2d", "shape": "4,x"}, "whole numbers such as 8,3,32,32"),
        ({"layer": "layers:Conv2d", "shape": "4"}, "whole numbers such as 8,3,32,32"),
        ({"layer": "layers:Conv2d", "arguments": "3,"}, "Conv2d(3) raises TypeError"),
        ({"layer": "layers:Conv2d", "arguments": "3, y"}, "write plain values as in a call"),
        ({"layer": "layers:Conv2d", "arguments": "3)("}, "write plain values as in a call"),
        ({"layer": "layers:Conv2d", "arguments": "5, 4, 3"}, "does not take an input (4, 3, 9"),
        ({"layer": "layers:Conv2d", "against": "torch.nn.Conv"}, "there is no 'torch.nn.Conv'"),
        ({"layer": "layers:Conv2d", "against": "Conv2d"}, "there is no 'Conv2d'"),
        ({"layer": "layers:LocallyConnected2d"}, "say which layer it should equal"),
        ({"layer": "builtins:dict", "against": "torch.nn.ReLU", "arguments": ""}, "dict makes no"),
    ],
)
def test_an_invalid_check_is_refused(options, words):
    with pytest.raises(InvalidCheck, match=re.escape(words)):
        run_check(**options)


def test_a_module_that_cannot_be_imported_is_reported(tmp_path):
    (tmp_path / "broken_layer.py").write_text("1 / 0")
    with pytest.raises(InvalidCheck, match="ZeroDivisionError: division by zero"):
        run_check(f"{tmp_path / 'broken_layer.py'}:X")
    (tmp_path / "empty_layer.py").write_text("")
    with pytest.raises(InvalidCheck, match="it has no subclass"):
        run_check(f"{tmp_path / 'empty_layer.py'}:X")
