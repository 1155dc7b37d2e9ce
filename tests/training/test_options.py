"""Options and recipes: one source for the command line, config.yaml and checkpoints."""

import dataclasses
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.pattern import is_pattern
from training.arguments.command_line import parse
from training.data.catalog import DATA
from training.errors import UserError
from training.options import Options, from_dict, load_yaml, save_yaml, to_dict
from training.recipes import RECIPES, may_be_pattern, recipe

ROOT = Path(__file__).parent.parent.parent
EVERY = [(model, data) for model in RECIPES for data in DATA]


def test_every_network_and_every_data_set_is_named_in_the_help(capsys):
    with pytest.raises(SystemExit):
        parse(["--help"], "")
    words = set(re.findall(r"\w+", capsys.readouterr().out))
    assert {*RECIPES, *DATA} <= words


@pytest.mark.parametrize(("model", "data"), EVERY)
def test_every_recipe_is_possible(model, data):
    options = recipe(model, data)
    options.check()
    assert (options.model, options.data) == (model, data)
    assert len(options.mean) == len(options.std) == DATA[data].in_channels


def test_lenet5_scales_paper_to_minus_0_1_and_ink_to_1_175():
    options = recipe("lenet5", "mnist")
    paper, ink = ((pixel - options.mean[0]) / options.std[0] for pixel in (0, 1))
    assert paper == pytest.approx(-0.1)
    assert ink == pytest.approx(1.175)


def test_round_trips(tmp_path):
    options = dataclasses.replace(recipe("lenet", "cifar10"), resume=Path("x"), lr=0.125)
    assert from_dict(to_dict(options)) == options
    save_yaml(options, tmp_path / "config.yaml")
    assert load_yaml(tmp_path / "config.yaml") == options


def test_the_command_line_overrides_the_recipe():
    options = parse(["--model", "lenet", "--data", "mnist", "--lr", "0.5", "--mean", "0.25"], "")
    assert options == dataclasses.replace(recipe("lenet", "mnist"), lr=0.5, mean=(0.25,))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--model lenot", "did you mean lenet"),
        ("--model vehicle", "choose from lenet"),
        ("--data minst", "did you mean mnist"),
        ("--epochs 0", "--epochs must be at least 1"),
        ("--batch-size -3", "--batch-size must be at least 1"),
        ("--lr 0", "--lr must be positive"),
        ("--lr nan", "--lr must be finite"),
        ("--momentum 1", "--momentum must be in"),
        ("--val-fraction 1", "--val-fraction must be between"),
        ("--weight-decay -1", "--weight-decay must be at least 0, got -1.0"),
        ("--std 0", "positive ones"),
        ("--mean 0.1 0.2", "one number per channel"),
        ("--mean --std", "one number per channel"),
        ("--warmup-epochs inf", "must be finite"),
        ("--std nan", "must be finite"),
        ("--seed -1", "--seed must be between 0"),
        ("--resume nowhere", "nowhere is no run"),
        ("--milestones 30 60", "--milestones must be fractions of the run .* got 30.0$"),
        ("--milestones -0.5", "--milestones must be fractions"),
        (
            "--warmup-epochs 100 --epochs 1",
            "100 is longer than the run, --epochs 1: .* such as 0.1$",
        ),
        ("--lr 1e300", "--lr must be at most 1e"),
        ("--weight-decay 1e300", "--weight-decay must be at most 1e"),
        ("--mean -1e300", "--mean must be at most 1e.* in size"),
        ("--std 1e-300", "--std must be positive ones, at least 1e-09"),
        (f"--batch-size {10**30}", "--batch-size must be at most 1,000,000"),
        ("--image-size 100000", "--image-size must be at most 10,000"),
        (f"--image-size {10**20}", "--image-size must be at most"),
        ("--num-classes 1000000000", "--num-classes must be at most"),
        ("--num-classes 0", "--num-classes must be at least 1"),
        ("--workers 1000000", "--workers must be at most 256"),
        (f"--epochs {10**4000}", "--epochs must be at most"),
        (f"--checkpoint-every {10**4000}steps", "--checkpoint-every must be like"),
        ("--resume " + "x" * 300, "cannot be read: File name too long"),
    ],
)
def test_impossible_values_get_a_sentence(arguments, words):
    with pytest.raises(UserError, match=words):
        parse(arguments.split(), "")


@pytest.mark.parametrize("more", [[], ["--freeze"]])
def test_an_unset_shell_variable_is_no_weights(more):
    with pytest.raises(UserError, match=r"--weights is empty \(an unset shell variable\?\): give"):
        parse(["--weights", "", *more], "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--modle lenet", "^unrecognized options: --modle, lenet: did you mean --model[?]$"),
        ("--epochs x", "^error parsing --epochs: invalid literal for int.. with base 10: 'x'; --h"),
        ("--amp x", "^invalid choice 'x' for argument '--amp'. Expected one of .'none', 'bf16'"),
        ("--model", "--model"),
        ("--zzzz", "^unrecognized options: --zzzz"),
    ],
)
def test_a_command_line_that_cannot_be_read(arguments, words, capsys):
    with pytest.raises(UserError, match=words) as caught:
        parse(arguments.split(), "")
    assert "\n" not in str(caught.value)
    assert not re.search("[│╭─]", str(caught.value))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("model", ["lenot", "input", "a -> b", "INPUT[", "", "Input -> FC", "INPU"])
def test_what_may_be_a_pattern(model):
    assert may_be_pattern(model) == is_pattern(model)


@pytest.mark.parametrize(
    "line",
    [
        ["train.py", "--model", "lenot"],
        ["train.py", "--data", "minst"],
        ["train.py", "--modle", "x"],
        ["train.py", "--epochs", "x"],
        ["train.py", "--model", "INPUT -> KONV3"],
        ["train.py", "--config", "absent"],
        ["evaluate.py", "runs", "--splti", "val"],
        ["compare.py", "layers", "conv3d"],
        ["compare.py", "models", "lennet"],
        ["compare.py", "train", "lenot"],
    ],
    ids=" ".join,
)
def test_mistypes_are_told_without_importing_torch(line, tmp_path):
    """Which takes seconds."""
    if line[0] == "compare.py":
        line = [*line, "--output", str(tmp_path)]
    code = (
        "import sys, runpy; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 2\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *line], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_options_that_belong_together_stand_together(capsys):
    with pytest.raises(SystemExit):
        parse(["--help"], "")
    printed = capsys.readouterr().out  # where there is no terminal, without boxes
    _, *parts = re.split(r"^ (\w+) options\s*$", printed, flags=re.MULTILINE)
    found = {
        title: set(re.findall(r"^  --([a-z][a-z-]*)", part, re.MULTILINE))
        for title, part in zip(parts[::2], parts[1::2], strict=True)
    }
    groups = {base.__name__.lower(): base for base in Options.__bases__}
    assert list(found) == list(groups)[::-1]
    for title, base in groups.items():
        assert found[title] == {f.name.replace("_", "-") for f in dataclasses.fields(base)}
        assert len(found[title]) <= 10
    assert sum(map(len, found.values())) == len(dataclasses.fields(Options)) < 50


def test_a_resumed_run_keeps_its_options(tmp_path):
    save_yaml(recipe("lenet", "mnist"), tmp_path / "config.yaml")
    options = parse(["--resume", str(tmp_path), "--epochs", "99"], "")
    assert (options.model, options.data, options.epochs) == ("lenet", "mnist", 99)
    with pytest.raises(UserError, match="--lr differs"):
        parse(["--resume", str(tmp_path), "--lr", "9"], "")
    (tmp_path / "config.yaml").write_text("- 1")
    with pytest.raises(UserError, match="does not hold the options"):
        parse(["--resume", str(tmp_path)], "")
    (tmp_path / "config.yaml").write_text("colour: red")
    with pytest.raises(UserError, match="colour is not known"):
        parse(["--resume", str(tmp_path)], "")
    (tmp_path / "config.yaml").write_text("lr: 5e-2")  # a word, to YAML
    assert parse(["--resume", str(tmp_path)], "").lr == 0.05
    (tmp_path / "config.yaml").write_text("epochs: null")
    with pytest.raises(UserError, match="epochs must be int, got None"):
        parse(["--resume", str(tmp_path)], "")
    (tmp_path / "config.yaml").write_text("lr: fast")
    with pytest.raises(UserError, match="lr must be float, got 'fast'"):
        parse(["--resume", str(tmp_path)], "")


@pytest.mark.parametrize("command", ["train.py", "evaluate.py", "compare.py"])
def test_help_answers_without_importing_torch(command):
    start = time.monotonic()
    code = (
        "import sys, runpy; sys.argv = [sys.argv[1], '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout
    assert time.monotonic() - start < 5  # a loaded machine; 0.2 s on a quiet one


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"layers: junk", "layers must be one of custom, torch, reference, got 'junk'"),
        (b"epochs: 1.5", "epochs must be int, got 1.5"),
        (b"epochs: .inf", "epochs must be int, got inf"),
        (b"epochs: true", "epochs must be int, got True"),
        (b"freeze: 1", "freeze must be bool, got 1"),
        (b"mean: 0.5", "mean must be tuple"),
        (b"1: 2\nx: 3", "1, x is not known here"),
        (b"\xff\xfe\xfa", "does not hold the options"),
        (b"[" * 5000, "does not hold the options"),
        (b"a: 2020-99-99", "does not hold the options"),
        (b"!!python/object/apply:os.system [ls]", "does not hold the options"),
    ],
)
def test_junk_in_a_configuration(tmp_path, content, words):
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(UserError, match=rf"config\.yaml.*{words}"):
        load_yaml(tmp_path / "config.yaml")


def test_a_run_from_before_lighting_was_a_choice_of_augment():
    plain = to_dict(recipe("lenet", "digits"))
    assert from_dict(plain | {"lighting": 0.0}) == recipe("lenet", "digits")
    before = plain | {"augment": "crop-flip", "lighting": 0.1}
    assert from_dict(before).augment == "crop-flip-lighting"
    with pytest.raises(UserError, match="lighting is not known here"):
        from_dict(plain | {"lighting": 0.7})


def test_torchvision_s_weights_see_the_pixels_they_were_trained_on():
    chosen = ["--model", "alexnet_owt", "--data", "imagefolder"]
    assert parse(chosen, "").std == (1 / 255,) * 3
    facts = DATA["imagefolder"]
    pretrained = parse([*chosen, "--weights", "imagenet"], "")
    assert (pretrained.mean, pretrained.std) == (facts.mean, facts.std)
    own = parse([*chosen, "--weights", "imagenet", "--std", "1", "1", "1"], "")
    assert own.std == (1, 1, 1)
