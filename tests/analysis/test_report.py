"""The chart of ratios."""

from analysis import report


def test_an_empty_chart():
    """Of a single layer that has no twin, hence no ratio."""
    chart = report.bar_chart([], "ratios")
    assert not chart.axes[0].patches
