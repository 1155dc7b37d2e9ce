"""The commands as a user types them: exit codes and sentences."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from sklearn.datasets import load_digits

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
    for layers in ("torch", "reference"):
        judged = run("evaluate.py", str(folder / "best.pt"), "--layers", layers)
        assert judged.returncode == 0, judged.stderr
        assert "precision" in judged.stdout
        assert f"lenet5, {layers} layers, channels_last" in judged.stdout
    assert (folder / "confusion_test.png").exists()
    how = ["--split", "val", "--memory-format", "contiguous", "--json"]
    verdict = json.loads(run("evaluate.py", str(folder), *how).stdout)
    assert verdict["images"] == 144
    assert verdict["memory_format"] == "contiguous"


def test_a_pattern_is_printed_back_and_advised_upon(tmp_path):
    pattern = "INPUT[1x8x8] -> CONV3-4s2 -> RELU -> FC"
    done = run("train.py", "--model", pattern, "--epochs", "1", "--logdir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "CONV3-4s2  [4x4x4]   weights: 3*3*1*4 = 36\n" in done.stdout
    advice = "column 17: CONV 3x3 stride 2 padding 1 on 8 does not tile neatly: 4.5"
    assert done.stderr == f"warning: {advice}\n"


def test_compare_layers_and_models(tmp_path):
    quick = ["--threads", "1", "--seconds", "0", "--output", str(tmp_path)]
    done = run("compare.py", "layers", "lenet.fc1", "lenet.pool1", *quick)
    assert done.returncode == 0, done.stderr
    assert "lenet.pool1" in done.stdout
    assert "2/2  lenet.pool1: MaxPool2d(2) on 128 x 6 x 28 x 28" in done.stderr
    assert "readability" not in done.stdout
    done = run("compare.py", "models", "lenet", "--batch-size", "2", "--reference", *quick)
    assert done.returncode == 0, done.stderr
    assert "What readability would cost" in done.stdout
    assert "2 x 1 x 32 x 32" in done.stdout
    for name in ("layers", "models"):
        assert json.loads((tmp_path / f"{name}.json").read_text())["rows"]
        for kind in ("csv", "png"):
            assert (tmp_path / f"{name}.{kind}").stat().st_size


def test_compare_train(tmp_path):
    quick = ["--epochs", "1", "--threads", "1", "--output", str(tmp_path)]
    done = run("compare.py", "train", "lenet", "--data", "digits", *quick)
    assert done.returncode == 0, done.stderr
    assert "epoch 1/1  reference  train loss" in done.stdout
    assert "first step not bit-equal" in done.stdout
    folder = tmp_path / "lenet-digits"
    rows = json.loads((folder / "train.json").read_text())["rows"]
    assert [row["layers"] for row in rows] == ["custom", "torch", "reference"]
    for name in ("train.csv", "train.png", "custom", "torch", "reference"):
        assert (folder / name).exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run."""
    quick = ["--model", "lenet", "--image-size", "16", "--epochs", "1"]
    folder = tmp_path_factory.mktemp("runs")
    assert run("train.py", *quick, "--logdir", str(folder)).returncode == 0
    return folder / "lenet-digits"


def test_evaluate_compares_layers(trained):
    done = run("evaluate.py", str(trained), "--compare-layers")
    assert done.returncode == 0, done.stderr
    assert "custom and torch  0 of 360 answers changed" in done.stdout
    assert "expected calibration error" in done.stdout


def test_classify_image_files(trained, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for number in range(2):
        pixels = (load_digits().images[number] * (255 / 16)).round().astype("uint8")
        Image.fromarray(pixels).save(images / f"{number}.png")
    done = run("evaluate.py", str(trained), "--layers", "torch", str(images))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("%\n") == 10
    assert "lenet, torch layers" in done.stdout
    assert {path.name for path in (trained / "classified").iterdir()} == {
        "contact_sheet.png",
        "answers.csv",
    }
    (images / "broken.png").write_bytes(b"no image")
    arguments = ["--model", "lenet", "--weights", str(trained), "--output", str(tmp_path / "out")]
    done = run("evaluate.py", *arguments, str(images), "--json")
    assert done.returncode == 1  # something was left out
    assert done.stderr.startswith(f"skipped {images / 'broken.png'}: it holds none of JPEG")
    assert len(done.stderr.splitlines()) == 1
    document = json.loads(done.stdout)
    assert [Path(image["file"]).name for image in document["images"]] == ["0.png", "1.png"]
    assert document["csv"] == str(tmp_path / "out" / "answers.csv")


@pytest.mark.parametrize(
    ("layer", "code", "verdict"),
    [
        ("my_conv.py:MyConv2d", 0, "verdict: right"),
        ("wrong_conv.py:Assigns", 1, "with windows that do not overlap it is right"),
        ("wrong_conv.py:Flips", 1, "turned by 180 degrees"),
    ],
)
def test_compare_check(layer, code, verdict):
    question = ["--shape", "2,3,8,8", "--args", "3, 4, 3, padding=1", "--seconds", "0"]
    done = run("compare.py", "check", f"docs/examples/{layer}", *question, "--threads", "1")
    assert done.returncode == code, done.stderr
    assert verdict in done.stdout


def test_a_layer_that_exits_is_not_right(tmp_path):
    (tmp_path / "layer.py").write_text("raise SystemExit(0)")
    question = ["--shape", "2,3,8,8", "--args", "3, 4, 3", "--threads", "1"]
    done = run("compare.py", "check", f"{tmp_path / 'layer.py'}:X", *question)
    assert done.returncode == 2
    assert "ends the program (exit code 0) before it is judged" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compare.py", "models", "lennet"], "did you mean lenet"),
        (["compare.py", "models", "lenet", "--image-size", "9"], "smallest that fits is 16 x 16"),
        (["compare.py", "models", "--batch-size", "0"], "--batch-size must be at least 1"),
        (["compare.py", "models", "lenet", "--device", "xpuu"], "this machine has cpu"),
        (["compare.py", "train", "lenet", "--epochs", "0"], "--epochs must be at least 1"),
        (["compare.py", "train", "lenot"], "did you mean lenet"),
        (["compare.py", "layers", "--threads", "100000000"], "--threads must be at most 1,024"),
        (["compare.py", "check", "a:b", "--shpae", "2"], "missing from compare.py check: --shape"),
        (["compare.py", "lay"], "available subcommands: layers, models, train, check"),
        (["evaluate.py"], "missing from evaluate.py: RUN, a run or a checkpoint"),
        (["evaluate.py", "resnet18"], "give --model resnet18 --weights imagenet"),
        (["evaluate.py", "--model", "lenet", "x.png"], "--model and --weights go together"),
        (["evaluate.py", "--model", "lenet", "--weights", "x"], "missing from evaluate.py: IMAGE"),
        (["evaluate.py", "runs", "x.png", "--compare-layers"], "is for a whole data set, not for"),
        (["evaluate.py", "runs", "--invert"], "--invert is for image files, not for a whole"),
        (["compare.py", "layers", "conv3d"], "unknown operator, network or row 'conv3d'"),
        (["compare.py", "check", "layers:Conv", "--shape", "2,3,8,8"], "no layer 'Conv'"),
        (["train.py", "--model", "lenot"], "did you mean lenet"),
        (["train.py", "--image-size", "9"], "smallest that fits is 16 x 16"),
        (
            ["train.py", "--model", "INPUT -> KONV3-8"],
            "column 10: unknown layer KONV: did you mean",
        ),
        (["train.py", "--model", "lenet", "--weights", "absent.pt"], "there is no file absent.pt"),
        (["visualize.py", "filters", "absent"], "absent is neither a run, a checkpoint nor"),
        (["visualize.py", "occlusion", "lenet", "--grey", "256"], "--grey must be at most 255"),
        (["evaluate.py", "absent.pt"], "no checkpoint at absent.pt"),
        (["evaluate.py", "README.md"], "README.md is not a readable checkpoint"),
    ],
)
def test_bad_input_gets_one_sentence_and_exit_code_2(arguments, words, tmp_path):
    if arguments[1:] and arguments[1] in ("models", "layers", "train"):
        arguments = [*arguments, "--output", str(tmp_path)]
    if arguments[0] == "train.py":
        arguments = [*arguments, "--logdir", str(tmp_path)]
    if arguments[0] == "visualize.py":
        arguments = [*arguments, "--output", str(tmp_path)]
    done = run(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())  # nothing is left behind


def test_a_reader_who_has_seen_enough_is_no_error():
    with subprocess.Popen(
        [sys.executable, "train.py", "--help"], cwd=ROOT, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1
