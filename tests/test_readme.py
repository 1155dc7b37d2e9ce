"""The README's network of one's own is trained as it is printed."""

import re
from pathlib import Path

import pytest

import models
from training.recipes import RECIPES

ROOT = Path(__file__).parent.parent


def test_a_layer_and_a_network_of_your_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models, "MODELS", dict(models.MODELS))
    monkeypatch.setitem(RECIPES, "mynet", RECIPES["lenet"])
    section = (ROOT / "README.md").read_text().split("## A layer and a network of your own")[1]
    exec(re.search(r"```python\n(.*?)```", section, re.DOTALL)[1], {"__name__": "__main__"})
    accuracy = float(re.search(r"test accuracy +([\d.]+)%", capsys.readouterr().out)[1])
    assert accuracy == pytest.approx(96, abs=4)
    assert (tmp_path / "runs" / "mynet-digits" / "best.pt").exists()
