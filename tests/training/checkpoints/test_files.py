"""Files of a run: valid, and told by their own names where they cannot be written."""

import dataclasses
import json
import math

import pytest

from training import fit
from training.checkpoints import run_folder
from training.checkpoints.files import to_json
from training.errors import UserError


def test_json_has_no_nan():
    content = {"a": math.nan, "b": [math.inf, 1.5, {"c": -math.inf}], "d": (1, True, "x", None)}
    expected = {"a": None, "b": [None, 1.5, {"c": None}], "d": [1, True, "x", None]}
    assert json.loads(to_json(content)) == expected


def test_metrics_are_valid_json(quick, monkeypatch):
    metrics = {"test_accuracy": 0.5, "test_loss": math.inf}
    monkeypatch.setattr(fit, "test", lambda run: metrics)
    fit.fit(dataclasses.replace(quick, name="run", epochs=1))
    text = (quick.logdir / "run" / "metrics.json").read_text()
    found = json.loads(text, parse_constant=lambda word: pytest.fail(word))
    assert found == {"test_accuracy": 0.5, "test_loss": None}


def test_a_full_disk_is_told_by_the_run_s_name(quick, monkeypatch):
    """And not by the hidden one that its folder has first."""

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_folder.Path, "write_text", full)
    with pytest.raises(UserError, match=r"cannot create \S+/mine \(No space left") as caught:
        run_folder.new_folder(dataclasses.replace(quick, name="mine"))
    assert "/." not in str(caught.value).replace(str(quick.logdir), "")
    assert not list(quick.logdir.iterdir())
