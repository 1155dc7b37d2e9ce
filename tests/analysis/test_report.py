"""The chart of ratios."""

from analysis import report


def test_a_chart_of_nothing():
    """A layer without a twin has no ratio, and may be the only one asked for."""
    chart = report.bars([], "ratios")
    assert not chart.axes[0].patches
