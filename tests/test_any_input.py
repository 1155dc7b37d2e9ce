"""Whatever is typed, or written into a config.yaml: a run that can begin, or one sentence.

hypothesis changes command lines that are right.  Wrong types, huge numbers, empty strings, any
characters, files that are missing: each ends in exit code 2 and one sentence, or it is valid.
"""

import contextlib
import dataclasses
import io
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import compare
import evaluate
import train
from training import errors, fit
from training.options import Options, to_dict
from training.recipes import recipe

ROOT = Path(__file__).parent.parent
SEARCH = dict(
    derandomize=True, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip

NUMBERS = ["0", "1", "2", "3", "-1", "-0.5", "0.5", "1.5", "nan", "inf", "-inf", "1e400", "1e-400",
           "-1e300", "9" * 30, "1_000", "0x10", "1e3", "٣", "1,5"]  # fmt: skip
WORDS = ["", " ", "None", "True", "null", "[]", "{}", "-", "--", "---", "--lr", "--lr=", "=", "@x",
         "é", "日本", "\0", "a\0b", "\ud800", "\n", "a\nb", "\x1b[31m", "x" * 300, "%s", "{0}", "~",
         ".", "..", "/", "/dev/null", "/nowhere/at/all", "absent.pt", "README.md", "layers",
         "lenet", "mnist:", "lenet5", "INPUT -> FC", "INPUT -> ", "->", "input", "imagenet",
         "cpu", "cuda:99", "meta", "10m", "500steps", "custom", "test", "sgd"]  # fmt: skip
VALUES = st.one_of(st.sampled_from(NUMBERS), st.sampled_from(WORDS), st.text(max_size=8))
NAMES = sorted(f.name.replace("_", "-") for f in dataclasses.fields(Options))


class Begun(Exception):
    """Nothing was wrong with the input: the work would begin."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The run of one step."""
    options = dataclasses.replace(
        recipe("lenet", "digits"), image_size=16, limit_steps=1, name="run",
        logdir=tmp_path_factory.mktemp("runs"),
    )  # fmt: skip
    fit.fit(options)
    return options.logdir / "run" / "best.pt"


@pytest.fixture
def begun(monkeypatch):
    """The commands stop where their work begins."""

    def stop(*_, **__):
        raise Begun

    monkeypatch.setattr("training.setup.show_inputs", lambda *_: None)
    monkeypatch.setattr("training.fit.train", stop)
    monkeypatch.setattr("training.evaluation.evaluate_checkpoint.evaluate", stop)
    monkeypatch.setattr("analysis.layer_benchmark.LayerBenchmark.run", stop)
    monkeypatch.setattr("analysis.model_benchmark.ModelBenchmark.run", stop)
    monkeypatch.setattr("training.layer_sets.compare", stop)
    monkeypatch.setattr("training.data.datasets.TORCHVISION", {})


def outcome(command, arguments):
    """Run a command in this process: its exit code, or None if it would begin; what it printed."""
    printed, told = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = [f"{command.__name__}.py", *arguments]
    try:
        with (
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(told),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            errors.run(command.main)
        return 0, told.getvalue()
    except Begun:
        return None, ""
    except SystemExit as ended:
        return ended.code or 0, told.getvalue()
    finally:
        sys.argv = before


def assert_valid_or_one_sentence(code, told):
    assert code in (None, 0, 2), told
    if code == 2:
        assert told.startswith("error: ")
        assert told.endswith("\n")
        assert told.count("\n") == 1
        assert 15 < len(told) < 2000


@st.composite
def changed(draw, line, names):
    """A command line that is right, with one to three mistakes."""
    line = list(line)
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["set", "set", "set", "replace", "drop", "insert", "typo"]))
        at = draw(st.integers(0, len(line) - 1)) if line else 0
        if kind == "set":
            line += [f"--{draw(st.sampled_from(names))}", draw(VALUES)]
        elif kind == "insert":
            line.insert(at, draw(VALUES))
        elif line and kind == "replace":
            line[at] = draw(VALUES)
        elif line and kind == "drop":
            del line[at]
        elif line:
            line[at] = line[at][:-1] + draw(st.text(max_size=2))
    return line


TRAIN = ["--model", "lenet", "--data", "digits", "--image-size", "16", "--epochs", "1"]


@settings(max_examples=100, **SEARCH)
@given(line=changed(TRAIN, NAMES))
def test_train(line, begun, tmp_path):
    assert_valid_or_one_sentence(*outcome(train, [*line, "--logdir", str(tmp_path / "runs")]))


def of_type(name, kind):
    """Values that an option's type has."""
    choices = get_args(kind)
    if type(None) in choices:
        return st.none() | of_type(name, choices[0])
    if get_origin(kind) is Literal:
        return st.sampled_from(choices)
    if get_origin(kind) is tuple:
        return st.lists(of_type(name, float), max_size=3)
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(-1, 40) | st.integers() | st.sampled_from([2**31, 2**63, 10**20])
    if kind is float:
        return st.floats(0, 1) | st.floats()
    return st.sampled_from(WORDS) | st.text(max_size=8)


TYPED = {
    name: of_type(name, kind)
    for name, kind in get_type_hints(Options).items()
    if name not in ("logdir", "name", "resume", "compile", "deterministic", "profile", "workers")
}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates()
    | st.sampled_from([*NUMBERS, *WORDS]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)  # fmt: skip
BASE = to_dict(dataclasses.replace(recipe("lenet", "digits"), image_size=16, epochs=1))


@st.composite
def configurations(draw):
    """A config.yaml that is right, with other values, or with other characters."""
    plain = dict(BASE)
    for name in draw(st.lists(st.sampled_from(sorted(TYPED)), min_size=1, max_size=4)):
        plain[name] = draw(TYPED[name])
    if draw(st.booleans()):
        plain[draw(st.sampled_from(sorted(BASE)) | st.text(max_size=8))] = draw(ANYTHING)
    text = yaml.safe_dump(plain)
    if draw(st.sampled_from([False, False, True])):
        at, length = draw(st.integers(0, len(text))), draw(st.integers(0, 20))
        text = text[:at] + draw(st.text(max_size=5)) + text[at + length :]
    return text.encode("utf-8", "surrogatepass")


@settings(max_examples=60, **SEARCH)
@given(content=configurations(), resume=st.booleans())
def test_config(content, resume, begun, tmp_path):
    (tmp_path / "config.yaml").write_bytes(content)
    how = ["--resume", str(tmp_path)] if resume else ["--config", str(tmp_path / "config.yaml")]
    if not resume:
        how += ["--logdir", str(tmp_path / "runs")]
    assert_valid_or_one_sentence(*outcome(train, how))


EVALUATE = ["--split", "val", "--layers", "torch", "--batch-size", "64"]
EVALUATE_NAMES = sorted(f.name.replace("_", "-") for f in dataclasses.fields(evaluate.Options))


@settings(max_examples=20, **SEARCH)
@given(line=changed(EVALUATE, EVALUATE_NAMES))
def test_evaluate(line, begun, checkpoint):
    assert_valid_or_one_sentence(*outcome(evaluate, [str(checkpoint), *line]))


LINES = {
    compare.Layers: ["layers", "lenet.fc1", "--seconds", "0"],
    compare.Models: ["models", "lenet", "--batch-size", "2", "--seconds", "0"],
    compare.Train: ["train", "lenet", "--epochs", "1"],
    compare.Check: ["check", "torch.nn:ReLU", "--shape", "2,3", "--seconds", "0"],
}


@pytest.mark.parametrize("kind", LINES, ids=lambda kind: kind.__name__.lower())
def test_compare(kind, begun, tmp_path):
    names = sorted(f.name.replace("_", "-") for f in dataclasses.fields(kind))
    names = [name for name in names if name not in ("threads", "arguments")] + ["args"]
    line = LINES[kind] + ([] if kind is compare.Check else ["--output", str(tmp_path)])

    @settings(max_examples=5, **SEARCH)
    @given(line=changed(line, names))
    def search(line):
        code, told = outcome(compare, line)
        if code != 1:  # what check judges to be wrong
            assert_valid_or_one_sentence(code, told)

    search()


AS_PROCESSES = [
    ["train.py", "--lr", "nan"],
    ["train.py", "--model", ""],
    ["train.py", "--mean", "\udcff"],  # bytes that are not UTF-8
    ["train.py", "--batch-size", "9" * 5000],
    ["train.py", "--resume", "\x1b[31m"],
    ["train.py", "--config", "README.md"],
    ["train.py", "--data", "imagefolder", "--data-root", "absent"],
    ["evaluate.py", "", "--batch-size", "-1"],
    ["compare.py", "models", "日本"],
    ["compare.py", "check", "absent:X", "--shape", "x", "--args", "3, ("],
]


@pytest.mark.parametrize("line", AS_PROCESSES, ids=lambda line: ascii(" ".join(line))[:40])
def test_as_a_process(line, tmp_path):
    more = ["--logdir", str(tmp_path)] if line[0] == "train.py" else []
    done = subprocess.run(
        [sys.executable, *line, *more], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert_valid_or_one_sentence(2, done.stderr)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("mixup", 1e-50, "--mixup must be 0, or at least 1e-30 in size"),
        ("optimizer", "nesterov", "--optimizer nesterov needs a --momentum"),
    ],
)
def test_what_the_search_has_found(name, value, words):
    options = dataclasses.replace(recipe("lenet", "digits"), momentum=0.0)
    with pytest.raises(errors.UserError, match=words):
        dataclasses.replace(options, **{name: value}).check()


def test_a_sentence_is_one_line_that_a_terminal_prints():
    assert errors.in_one_line("a\nb\x1b[31m") == "a\\nb\\x1b[31m"
    long = errors.in_one_line("word " * 10**6)
    assert long.startswith("word word")
    assert len(long) < 2000
