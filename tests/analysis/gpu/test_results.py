"""Results read from a part's lines, and the tables made of them."""

import json

import pytest

from analysis.gpu import report, rows
from analysis.gpu.results import PartResult, document

SUMMARIES = {
    "== 3 passed, 2 skipped, 626 deselected in 9.03s ==": {
        "passed": 3, "skipped": 2, "deselected": 626,
    },
    "==== 1 failed, 40 passed, 1 error in 70.11s (0:01:10) ====": {
        "failed": 1, "passed": 40, "error": 1,
    },
    "2 passed in 0.5s": {"passed": 2},
}  # fmt: skip


@pytest.mark.parametrize("line", SUMMARIES)
def test_pytest_s_summary(line):
    result = PartResult()
    result.test_line("tests/a.py::test_b PASSED   [ 50%]")
    assert result.tests == {"passed": 1}  # so far
    result.test_line(line)
    assert result.tests == SUMMARIES[line]


def test_a_failed_test_is_a_problem():
    result = PartResult()
    result.test_line("FAILED tests/a.py::test_b - assert 1 == 2")
    assert result.problems == ["FAILED tests/a.py::test_b - assert 1 == 2"]


def test_rows_are_emitted_and_parsed(capsys):
    def fails():
        raise ValueError("not\nthis")

    rows.emit({"plan": ["a", "b", "c"]})
    print("output without a newline", end="")
    rows.measure("a", lambda: {"ms": {"ours": 1.5}})
    rows.measure("b", fails)
    result = PartResult()
    for line in capsys.readouterr().out.splitlines():
        result.row_line(line)
    assert result.rows["a"]["ms"] == {"ours": 1.5}
    assert result.problems == ["b: ValueError: not this"]
    assert result.not_reached == ["c"]
    assert json.loads(document({"steps": result}, ""))["parts"]["steps"]["not reached"] == ["c"]


@pytest.mark.parametrize(
    ("difference", "own", "right"),
    [(1e-4, 0.0, True), (2e-3, 0.0, False), (2e-3, 1e-3, True), (float("nan"), 1.0, False)],
)
def test_losses_may_differ_by_a_multiple_of_torch_s_own_difference(difference, own, right):
    row = {"precision": "ieee", "loss difference": difference, "torch.nn's own": own}
    assert bool(PartResult(rows={"lenet/ieee": row}).problems) != right


def test_the_tables():
    step = {
        "network": "lenet", "precision": "tf32", "ms": {"ours NCHW": 3.0, "torch.nn NHWC": 2.0},
        "best": {"ours": "ours NCHW", "torch.nn": "torch.nn NHWC"}, "ratio": 1.5,
        "images/s": {"ours": 1000.0, "torch.nn": 1500.0}, "losses": {"ours NCHW": 2.3,
        "torch.nn NHWC": 2.3}, "peak": {"ours NCHW": 1 << 30, "torch.nn NHWC": 2 << 30},
        "loss difference": 0.0, "torch.nn's own": 0.0,
    }  # fmt: skip
    layer = {"id": "pool", "precision": "ieee", "layer": "MaxPool2d(2)", "peak": {}}
    layers = [
        {**layer, "ms": {"ours NCHW": 3.0, "ours NHWC": 2.0, "torch.nn NCHW": 4.0},
         "peak": {"ours NCHW": 1, "ours NHWC": 1, "torch.nn NCHW": 1}},
        {**layer, "ms": {"compiled": 1.0}, "peak": {"compiled": 1}},
    ]  # fmt: skip
    accuracies = {"custom": {"test_accuracy": 0.98}, "torch": {"test_accuracy": 0.97}}
    result = {
        "facts": PartResult(rows={"versions": {"torch": "2.9"}, "copy": {"TB/s": 2.5}}),
        "tests": PartResult(tests={"passed": 3}, seconds=4.0),
        "steps": PartResult(
            ["lenet/tf32", "vgg16/ieee"], {"lenet/tf32": step}, failure="exit code 3"
        ),
        "operators": PartResult(rows=dict(zip(["a", "b"], layers, strict=True))),
        "learning": PartResult(rows={"lenet": {"network": "lenet", **accuracies}}),
    }
    text = report.text(result)
    lines = [line.split() for line in text.splitlines()]
    assert "torch 2.9, copy 2.5 TB/s" in text
    assert ["lenet", "-", "1.50", "-", "-", "1000", "-", "-", "0.50", "-"] in lines
    assert ["pool", "0.50", "-", "-", "-", "2.00"] in lines
    assert ["lenet", "98.00%", "97.00%"] in lines
    assert "tests: 3 passed in 4 s" in text
    assert "steps: exit code 3" in text
    assert "steps: 1 of 2 rows not reached, from vgg16/ieee on" in text
    full = report.markdown(result, ".ci/gpu")
    assert "| lenet | tf32 | ours NCHW | 3.00 | 1.00 | 2.300000 |" in full
    assert "- steps: exit code 3" in full
