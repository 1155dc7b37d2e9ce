"""docs/examples/digit_strip.py, on scikit-learn's digits."""

import dataclasses
import importlib.util
from pathlib import Path

import torch

from training.fit import fit
from training.recipes import recipe

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location(
    "digit_strip", ROOT / "docs" / "examples" / "digit_strip.py"
)
digit_strip = importlib.util.module_from_spec(spec)
spec.loader.exec_module(digit_strip)


def test_a_strip_is_read(tmp_path, capsys):
    run = dataclasses.replace(recipe("lenet", "digits"), epochs=10, logdir=tmp_path, name="run")
    fit(run)
    capsys.readouterr()
    options = digit_strip.Options(
        tmp_path / "run", data="digits", steps=300, strips=50, picture=tmp_path / "strip.png"
    )
    digit_strip.main(options)
    told = capsys.readouterr().out
    assert "a strip of 272 pixels gives a map of 61 places" in told
    difference = float(told.split("crops: ")[1].split()[0])
    assert difference < 1e-5
    assert float(told.split("digits: ")[1].split("%")[0]) > 85
    assert (tmp_path / "strip.png").stat().st_size


def test_the_surest_place_counts():
    scores = torch.full((11, 20), -5.0)
    scores[10] = 0
    scores[3, 6], scores[3, 7], scores[8, 15] = 5.0, 9.0, 9.0
    assert digit_strip.read(scores) == ([7, 15], [3, 8])


def test_edit_distance():
    assert digit_strip.edit_distance([1, 2, 3], [1, 3]) == 1
    assert digit_strip.edit_distance([], [4, 4]) == 2
    assert digit_strip.edit_distance([7, 1], [1, 7]) == 2
