"""Numbers of a whole split."""

import dataclasses
import json

import pytest
import torch

from layers.ops.registry import record
from training import fit
from training.evaluation import evaluate_checkpoint as module
from training.evaluation.evaluate_checkpoint import evaluate_checkpoint, report


@pytest.fixture
def folder(quick):
    fit.fit(dataclasses.replace(quick, epochs=1))
    return quick.logdir / "lenet-digits"


@pytest.mark.parametrize("layers", ["custom", "torch"])
def test_layers_are_compared_over_the_whole_set(folder, layers):
    with record() as calls:
        results = evaluate_checkpoint(folder, layers=layers, compare_layers=True, batch_size=100)
    assert calls  # ours
    found = results["layer_sets"]
    assert found["layers"] == [layers, "torch" if layers == "custom" else "custom"]
    assert found["changed_answers"] == 0
    assert 0 < found["largest_logit_difference"] < 1e-5 * found["largest_logit"]
    assert found["top1"] == [results["top1"]] * 2
    assert json.loads(report(results, as_json=True)) == results
    assert "0 of 360 answers changed; largest logit difference" in report(results)


def test_a_wrong_layer_changes_answers(folder, monkeypatch):
    """One that makes every class a 0 in the second evaluation."""
    passes = []

    def evaluate(*arguments):
        result = original(*arguments)
        if passes:
            result = dataclasses.replace(result, logits=result.logits.clone())
            result.logits[:, 0] += 1000
        passes.append(result)
        return result

    original = module.evaluate
    monkeypatch.setattr(module, "evaluate", evaluate)
    found = evaluate_checkpoint(folder, compare_layers=True)["layer_sets"]
    assert found["changed_answers"] == (passes[0].predictions != 0).sum()
    assert found["changed_answers"] > 100
    assert found["largest_logit_difference"] == pytest.approx(1000, rel=1e-4)


def test_the_numbers_agree_with_each_other(folder):
    results = evaluate_checkpoint(folder)
    assert "layer_sets" not in results
    assert 0 < results["calibration_error"] < 1
    wrong = round((1 - results["top1"]) * results["images"])
    assert 0 < sum(pair["images"] for pair in results["confused"]) <= wrong
    worst = results["confused"][0]
    missed = (1 - results["classes"][worst["true"]]["recall"]) * results["classes"][worst["true"]][
        "support"
    ]
    assert 1 <= worst["images"] <= round(missed)
    assert f"{worst['true']} taken for {worst['predicted']}" in report(results)
    torch.testing.assert_close(
        worst["share"], worst["images"] / results["classes"][worst["true"]]["support"]
    )
