"""Layer patterns as --model: recipes, runs, evaluation."""

import dataclasses

import pytest

from training import fit
from training.arguments.command_line import parse
from training.checkpoints import checkpoint
from training.errors import UserError
from training.evaluation.evaluate_checkpoint import evaluate_checkpoint
from training.options import load_yaml
from training.recipes import recipe, small

EVERY_WORD = (
    "INPUT[1x16x16] -> CONV3-8 -> BN -> TANH -> LRN3 -> L2POOL2 -> CONV3-6d2 -> RELU -> "
    "LOCAL3-4 -> RELU -> AVGPOOL2 -> MAXPOOL3s1p1 -> POOL2 -> DROPOUT0.1 -> FC16 -> TANH -> FC"
)


@pytest.fixture
def quick(tmp_path):
    return dataclasses.replace(
        recipe(EVERY_WORD, "digits"), epochs=1, batch_size=64, logdir=tmp_path, lr=0.02
    )


def test_the_size_of_the_images_is_input_s():
    assert recipe("INPUT -> FC", "mnist").image_size == small("mnist").image_size
    assert recipe("INPUT[3x48x48] -> FC", "cifar10").image_size == 48
    assert parse(["--model", "INPUT[1x8x8] -> FC", "--lr", "0.5"], "").image_size == 8
    with pytest.raises(UserError, match="images are square here, but INPUT says 8x16"):
        recipe("INPUT[1x8x16] -> FC", "mnist")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--model", "INPUT -> KONV"],
            "^--model: column 10: unknown layer KONV: did you mean CONV",
        ),
        (["--model", "lenet -> FC"], "^--model: column 1: expected INPUT"),
        (["--model", "INPUT -> FC", "--data", "minst"], "did you mean mnist"),
        (["--model", "INPUT -> FC", "--freeze"], "--freeze keeps weights that are trained"),
    ],
)
def test_mistakes_are_told_before_anything_is_loaded(arguments, words):
    with pytest.raises(UserError, match=words):
        parse(arguments, "")


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("INPUT[3x16x16] -> FC", r"are 1x16x16: write INPUT\[1x16x16\], or INPUT alone$"),
        ("INPUT -> [POOL2]*9 -> FC", r"--model: column 11: POOL2 does not fit \[1x1x1\]"),
    ],
)
def test_a_pattern_that_does_not_fit_the_data(quick, pattern, words):
    with pytest.raises(UserError, match=words):
        fit.fit(dataclasses.replace(quick, model=pattern))
    assert not list(quick.logdir.iterdir())


def test_train_resume_and_evaluate(quick, capsys):
    fit.fit(quick)
    folder = quick.logdir / "pattern-digits"
    printed = capsys.readouterr().out
    assert "  CONV3-6d2     [8x8x6]    weights: 3*3*8*6 = 432\n" in printed
    assert "  FC10          [1x1x10]   weights: 16*10 = 160\n" in printed
    assert load_yaml(folder / "config.yaml").model == EVERY_WORD
    before = checkpoint.load(folder / "last.pt")[1]["metrics"]["loss"]
    fit.fit(dataclasses.replace(load_yaml(folder / "config.yaml"), resume=folder, epochs=3))
    assert checkpoint.load(folder / "last.pt")[1]["metrics"]["loss"] < before
    ours, theirs = (evaluate_checkpoint(folder, layers=layers) for layers in ("custom", "torch"))
    assert ours["model"] == EVERY_WORD
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
    fit.fit(dataclasses.replace(quick, model="INPUT -> FC"))
    assert (quick.logdir / "pattern-digits-2").exists()
