"""The commands as a user types them: exit codes and sentences."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_train_then_evaluate(tmp_path):
    done = run("train.py", "--epochs", "1", "--logdir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout
    assert "\r" not in done.stdout + done.stderr  # plain lines where there is no terminal
    folder = tmp_path / "lenet5-digits"
    judged = run("evaluate.py", str(folder / "best.pt"), "--layers", "torch")
    assert judged.returncode == 0, judged.stderr
    assert "precision" in judged.stdout
    assert (folder / "confusion_test.png").exists()
    as_json = run("evaluate.py", str(folder), "--split", "val", "--json")
    assert json.loads(as_json.stdout)["images"] == 144


def test_a_pattern_is_printed_back_and_advised_upon(tmp_path):
    pattern = "INPUT[1x8x8] -> CONV3-4s2 -> RELU -> FC"
    done = run("train.py", "--model", pattern, "--epochs", "1", "--logdir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "CONV3-4s2  [4x4x4]   weights: 3*3*1*4 = 36\n" in done.stdout
    advice = "column 17: CONV 3x3 stride 2 padding 1 on 8 does not tile neatly: 4.5"
    assert done.stderr == f"warning: {advice}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train.py", "--model", "lenot"], "did you mean lenet"),
        (["train.py", "--image-size", "9"], "smallest that fits is 16 x 16"),
        (
            ["train.py", "--model", "INPUT -> KONV3-8"],
            "column 10: unknown layer KONV: did you mean",
        ),
        (["train.py", "--model", "lenet", "--weights", "absent.pt"], "there is no file absent.pt"),
        (["evaluate.py", "absent.pt"], "no checkpoint at absent.pt"),
        (["evaluate.py", "README.md"], "README.md is not a readable checkpoint"),
    ],
)
def test_bad_input_gets_one_sentence_and_exit_code_2(arguments, words, tmp_path):
    if arguments[0] == "train.py":
        arguments = [*arguments, "--logdir", str(tmp_path)]
    done = run(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())  # nothing is left behind
