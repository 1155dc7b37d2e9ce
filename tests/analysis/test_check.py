"""compare.py check: right layers pass, wrong ones are told why."""

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from analysis import subject, timing
from analysis.check import check
from analysis.setting import Setting
from analysis.subject import Impossible

EXAMPLES = Path(__file__).parent.parent.parent / "docs" / "examples"
SETTING = Setting(seconds=0)


@pytest.fixture(autouse=True)
def once(monkeypatch):
    monkeypatch.setattr(timing, "BLOCK", 0)


def judge(layer, shape="4,3,9,9", arguments="3, 4, 3, padding=1", against="", setting=SETTING):
    """(whether it is right, the report)."""
    lines = []
    name = layer if isinstance(layer, str) else f"{layer.__module__}:{layer.__name__}"
    right = check(name, against, shape, arguments, setting, lines.append)
    return right, "\n".join(lines)


def row(report, name):
    """A line of the report, without its name."""
    (line,) = (line for line in report.splitlines() if line.startswith(name))
    return line.removeprefix(name).strip()


def test_a_student_s_convolution_is_right():
    right, report = judge(f"{EXAMPLES / 'my_conv.py'}:MyConv2d")
    assert right
    assert report.endswith("verdict: right")
    for name in ("output", "gradient by input", "gradient by weight", "second derivatives"):
        assert row(report, name).startswith("pass")
    for option in ("stride=2 ", "padding=0 ", "an empty batch", "float64", "channels_last"):
        assert row(report, option) == "pass"
    assert row(report, "dilation=2").startswith("not supported")
    assert re.search(r"forward\+backward, ms +[\d.]+ +[\d.]+ +[\d.]+ \(", report)


def test_assigning_where_windows_overlap_is_caught():
    right, report = judge(f"{EXAMPLES / 'wrong_conv.py'}:Assigns")
    assert not right
    assert row(report, "output").startswith("pass")
    assert row(report, "gradient by input").startswith("differs")
    assert row(report, "gradient by weight").startswith("pass")
    assert "a pixel must get the sum of what they send back" in report
    assert "price" not in report


def test_turned_filters_are_caught():
    right, report = judge(f"{EXAMPLES / 'wrong_conv.py'}:Flips")
    assert not right
    assert "turned by 180 degrees" in report


class Twin(torch.nn.Conv2d):
    """A right layer that can do everything."""


class Exchanged(torch.nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(x, self.weight.mT, self.bias)


class Unbiased(torch.nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(x, self.weight, None)


class Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight, factor):
        ctx.factor = factor
        return weight.clone()

    @staticmethod
    def backward(ctx, dw):
        return dw * ctx.factor, None


class Averaged(torch.nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(x, Scale.apply(self.weight, 1 / max(1, len(x))), self.bias)


class Negative(torch.nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(x, Scale.apply(self.weight, -1), self.bias)


class CutOff(torch.nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(x, self.weight, self.bias.detach())


class TooLarge(torch.nn.Conv2d):
    def forward(self, x):
        return F.pad(super().forward(x), [0, 1, 0, 0])


class NotANumber(torch.nn.Conv2d):
    def forward(self, x):
        y = super().forward(x)
        return y / (y > 0)


class Raises(torch.nn.Conv2d):
    def forward(self, x):
        raise ArithmeticError("cannot add")


class NoGradient(torch.nn.Conv2d):
    def forward(self, x):
        return super().forward(x).detach()


class DeafToStride(torch.nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, self.weight, self.bias, 1, self.padding)


class OtherNames(torch.nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, padding=0):
        super().__init__()
        self.filters = torch.nn.Parameter(torch.zeros(out_channels, in_channels, kernel_size))


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (Exchanged, "its output: rows and columns of its filters are exchanged"),
        (Unbiased, "its output: its bias is not added"),
        (Averaged, "its gradient by weight: it is 0.25 times what it must be: the mean over"),
        (Negative, "its gradient by weight: it is -1 times what it must be: the sign is wrong"),
        (CutOff, "its gradient by bias: it does not arrive"),
        (TooLarge, "its output: its shape is 4 x 4 x 9 x 10 and must be 4 x 4 x 9 x 9"),
        (NotANumber, "of it is NaN or infinite"),
        (Raises, "its forward pass raises ArithmeticError: cannot add"),
        (NoGradient, "its backward pass raises RuntimeError: element 0 of tensors does not"),
        (DeafToStride, "with stride=2, its output: its shape is 4 x 4 x 9 x 9 and must be"),
    ],
)
def test_a_mistake_is_named(layer, reason):
    right, report = judge(layer)
    assert not right
    verdict = report[report.index("verdict: wrong") :]
    assert reason in verdict


def test_a_right_layer_passes_everything():
    right, report = judge(Twin, arguments="3, 4, kernel_size=3, padding=1")
    assert right
    assert "not supported" not in report
    assert "differs" not in report


def test_parameters_of_other_names_cannot_be_compared():
    right, report = judge(OtherNames, against="torch.nn.Conv2d")
    assert not right
    assert "filters (4, 3, 3)" in report
    assert "weight (4, 3, 3, 3), bias (4,)" in report


class OnceOnly(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy):
        return 2 * dy


class Doubles(torch.nn.Module):
    def forward(self, x):
        return OnceOnly.apply(x)


class Multiplies(torch.nn.Module):
    def forward(self, x):
        return 2 * x


def test_no_second_derivative_is_said_but_no_mistake():
    right, report = judge(Doubles, "4,3", "", against=f"{__name__}.Multiplies")
    assert right
    assert "not supported" in row(report, "second derivatives")


class Bent(torch.nn.Module):
    def forward(self, x):
        return 2 * x + (x - x.detach()) ** 2


def test_a_wrong_second_derivative_is_a_mistake():
    right, report = judge(Bent, "4,3", "", against=f"{__name__}.Multiplies")
    assert not right
    assert row(report, "gradient by input").startswith("pass")
    assert "its second derivative by input" in report


class StaleStatistics(torch.nn.BatchNorm2d):
    def forward(self, x):
        return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.1, self.eps)


def test_buffers_and_evaluation_count():
    right, report = judge(StaleStatistics, arguments="3")
    assert not right
    assert "its buffer running_mean is wrong after a training step" in report
    assert row(report, "eval()") == "differs"
    assert judge("torch.nn:BatchNorm2d", arguments="3")[0]


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
    right, report = judge(f"layers:{layer}", shape, arguments)
    assert right, report


def test_in_other_precisions():
    for dtype in (torch.float64, torch.bfloat16):
        right, report = judge("layers:Conv2d", setting=Setting(dtype=dtype, seconds=0))
        assert right, report


def test_arguments_given_by_position_are_replaced_there():
    given = subject.Arguments.parse("3, 4, 5, 2, bias=False")
    changed = given.replaced({"stride": 1, "padding": 2}, torch.nn.Conv2d)
    assert str(changed) == "3, 4, 5, 1, bias=False, padding=2"
    assert str(given) == "3, 4, 5, 2, bias=False"


@pytest.mark.parametrize(
    ("question", "words"),
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
        ({"layer": "layers.geometry:pair", "against": "torch.nn.ReLU", "arguments": ""}, "pair()"),
    ],
)
def test_questions_that_make_no_sense(question, words):
    with pytest.raises(Impossible, match=re.escape(words)):
        judge(**question)


def test_a_module_that_breaks_is_said_to(tmp_path):
    (tmp_path / "broken_layer.py").write_text("1 / 0")
    with pytest.raises(Impossible, match="ZeroDivisionError: division by zero"):
        judge(f"{tmp_path / 'broken_layer.py'}:X")
    (tmp_path / "empty_layer.py").write_text("")
    with pytest.raises(Impossible, match="it has no subclass"):
        judge(f"{tmp_path / 'empty_layer.py'}:X")
