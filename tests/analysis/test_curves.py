"""Where training runs diverge, and the report on it."""

import json
import math

import pytest

from analysis.curves import DIVERGED, FIRST_STEPS, Curves, Divergence, TrainingComparison


def curves(step_losses, weights=0.0):
    half = len(step_losses) // 2
    return Curves(
        images=100,
        step_losses=step_losses,
        losses=[sum(step_losses[:half]) / half, sum(step_losses[half:]) / half],
        val_losses=[1.0, 0.5],
        val_accuracies=[0.5, 0.75],
        seconds=[2.0, 1.0],
        test_accuracy=0.7,
        weights=weights,
    )


def comparison(dtype, **others):
    config = {"model": "lenet", "data": "digits", "epochs": 2, "dtype": dtype}
    return TrainingComparison(config, others)


def test_the_first_step_whose_losses_differ():
    divergence = Divergence.of(
        curves([2.0, 1.0 + 1e-7, 0.502, 0.0], weights=1e-3), curves([2, 1, 0.5, 0])
    )
    assert divergence.first_beyond(0) == 2
    assert divergence.first_beyond(DIVERGED) == 3
    assert divergence.largest == pytest.approx(0.004)
    assert divergence.first_beyond(0.01) is None
    assert Divergence.of(curves([1.0, 1.0]), curves([1.0, 0.0])).first_beyond(1e9) == 2


@pytest.mark.parametrize(
    ("dtype", "loss", "step", "failed"),
    [
        ("float64", 1.1, FIRST_STEPS, ["custom"]),
        ("float64", math.nan, 2, ["custom"]),
        ("float64", 1.1, FIRST_STEPS + 1, []),  # amplified rounding errors
        ("float64", 1 + 1e-12, 2, []),
        ("float32", 1.1, 2, []),
    ],
)
def test_the_first_steps_in_float64_must_agree(dtype, loss, step, failed):
    ours, theirs = [1.0] * 30, [1.0] * 30
    ours[step - 1] = loss
    found = comparison(dtype, torch=curves(theirs), custom=curves(ours), reference=curves(theirs))
    assert found.failed == failed


def test_tables_and_chart_show_every_layer_set():
    ours = curves([2.0, 1.0, 0.5, 0.1], weights=0.1)
    theirs = curves([2.0, 1.0, 0.5, 0.0])
    found = comparison("float32", custom=ours, reference=theirs, torch=theirs)
    results, diverging = found.tables()
    assert [row[0] for row in results.rows] == ["custom", "reference", "torch"]
    assert results.rows[0][5:] == ["3.0", "67", "1.00 (1.00 to 1.00)"]  # in 1.5 s
    assert diverging.rows[0] == ["custom", "inf", "4", "4", "inf", "1e-01"]
    assert diverging.rows[1] == ["reference", "0e+00", "never", "never", "0e+00", "0e+00"]
    assert "4 steps" in diverging.title
    document = json.loads(json.dumps(found.document()))
    assert [row["layers"] for row in document["rows"]] == ["custom", "reference", "torch"]
    assert document["rows"][0]["first_step_not_equal"] == 4
    assert document["curves"]["custom"]["step_losses"] == [2.0, 1.0, 0.5, 0.1]
    figure = found.chart()
    assert [len(axes.lines) for axes in figure.axes] == [3, 2 + 1, 3, 3]  # and a line at the bound
