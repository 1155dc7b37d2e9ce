"""The chart of ratios."""

from analysis import report
from analysis.table import Table


def test_an_empty_chart():
    """Of a single layer that has no twin, hence no ratio."""
    chart = report.bar_chart([], "ratios")
    assert not chart.axes[0].patches


def test_a_column_without_anything_is_left_out():
    table = Table("t", ["", "a", "b", "note"], [["x", "1", "", ""], ["y", "2", "", ""]], (0, 3))
    assert table.markdown().splitlines()[2:] == [
        "|  | a |", "| :-- | --: |", "| x | 1 |", "| y | 2 |",
    ]  # fmt: skip
    assert Table("t", ["", "a"], []).head == ["", "a"]
