"""A run that is cut at any step goes on as if nothing had happened."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.curves import events
from training import epochs, fit
from training.checkpoints import checkpoint
from training.data import datasets
from training.data.batches import training_batches
from training.errors import UserError
from training.interrupt import Interrupted
from training.options import checkpoint_interval
from training.recipes import recipe

ROOT = Path(__file__).parent.parent.parent
PATTERN = "INPUT[1x16x16] -> CONV3-4 -> BN -> RELU -> POOL2 -> DROPOUT0.1 -> FC"


def weights(folder, name="last.pt", part="model"):
    return checkpoint.load(folder / name)[1][part]


def assert_equal_weights(a, b, part="model"):
    a, b = (weights(folder, part=part) for folder in (a, b))
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


@pytest.fixture
def rich(quick):
    """Everything that draws random numbers, or has a state of its own."""
    return dataclasses.replace(
        quick, model=PATTERN, augment="affine", mixup=0.2, ema=0.9, amp="bf16", log_every=1
    )


@pytest.mark.parametrize("step", [1, 20, 21, 22, 41])  # 21 steps in an epoch
def test_interrupted_after_any_step(rich, step, monkeypatch):
    """The checkpoint of that step is written, and the curves have no gap and no overlap."""
    fit.fit(dataclasses.replace(rich, name="whole"))
    original = epochs.train_one_epoch

    def with_a_signal(state, training, recorder, label, log_every, after_step):
        def after(batch):
            if state.step == step:
                os.kill(os.getpid(), signal.SIGTERM)
            after_step(batch)

        return original(state, training, recorder, label, log_every, after)

    monkeypatch.setattr(epochs, "train_one_epoch", with_a_signal)
    cut = rich.logdir / "cut"
    with pytest.raises(Interrupted, match=rf"after step {step}, .* --resume {cut}") as caught:
        fit.fit(dataclasses.replace(rich, name="cut"))
    assert caught.value.exit_code == 143
    assert checkpoint.load(cut / "last.pt")[1]["step"] == step
    monkeypatch.undo()
    fit.fit(dataclasses.replace(rich, name="cut", resume=cut))
    assert_equal_weights(rich.logdir / "whole", cut)
    assert_equal_weights(rich.logdir / "whole", cut, part="ema")
    curves = [
        [(e.step, e.value) for e in events(rich.logdir / name / "train").Scalars("step/loss")]
        for name in ("whole", "cut")
    ]
    assert curves[0] == curves[1]
    assert [at for at, _ in curves[0]] == list(range(1, 43))
    means = [
        [e.value for e in events(rich.logdir / name / "train").Scalars("epoch/loss")]
        for name in ("whole", "cut")
    ]
    assert means[0] == means[1]


def test_resuming_reads_no_image_twice(quick, monkeypatch):
    (train, _), _ = datasets.load(quick, "train", "val")
    asked = []
    kind = type(train.dataset)
    original = kind.__getitems__
    monkeypatch.setattr(kind, "__getitems__", lambda self, i: asked.extend(i) or original(self, i))
    whole = [which for *_, which in training_batches(train, quick, 3)]
    asked.clear()
    rest = [which for *_, which in training_batches(train, quick, 3, first=18)]
    assert torch.equal(torch.cat(rest), torch.cat(whole[18:]))
    assert len(asked) == len(torch.cat(rest))


@pytest.mark.parametrize("every", ["1steps", "7steps", "0.00001m"])
def test_checkpoints_within_an_epoch(quick, every, monkeypatch):
    saved, original = [], checkpoint.save

    def save(path, options, **state):
        saved.append((path.name, state["step"]))
        original(path, options, **state)

    monkeypatch.setattr(checkpoint, "save", save)
    fit.fit(dataclasses.replace(quick, epochs=1, checkpoint_every=every, keep=2))
    steps = [step for name, step in saved if name == "last.pt"]
    assert steps == ([7, 14, 21] if every == "7steps" else list(range(1, 22)))
    kept = sorted((quick.logdir / "lenet-digits").glob("step-*.pt"))
    assert [path.stem for path in kept] == [f"step-{step}" for step in steps[-2:]]
    assert checkpoint.load(kept[0])[1]["step"] == steps[-2]


@pytest.mark.parametrize("text", ["10", "m", "0steps", "-1m", "2.5steps", "1h", "0m"])
def test_an_interval_that_is_none(text):
    with pytest.raises(UserError, match="must be like 10m or 500steps"):
        checkpoint_interval(text)


def test_limited_steps_end_the_run(quick):
    fit.fit(dataclasses.replace(quick, epochs=5, limit_steps=25))
    state = checkpoint.load(quick.logdir / "lenet-digits" / "last.pt")[1]
    assert (state["step"], state["epoch"]) == (25, 2)


def test_it_stops_early(quick, monkeypatch):
    original, accuracies = epochs.evaluate, iter([0.5, 0.6, 0.55, 0.6, 0.59, 0.9])

    def seen(state, batches, label):
        result = original(state, batches, label)
        return dataclasses.replace(result, acc1=next(accuracies), loss=1.0)

    monkeypatch.setattr(epochs, "evaluate", seen)
    fit.fit(dataclasses.replace(quick, epochs=6, early_stop=3))
    state = checkpoint.load(quick.logdir / "lenet-digits" / "last.pt")[1]
    assert (state["epoch"], state["best_epoch"]) == (5, 2)


@pytest.mark.parametrize(("option", "value"), [("limit_steps", 25), ("early_stop", 1)])
def test_a_run_that_an_option_ended_is_not_tested_again(quick, option, value, monkeypatch):
    original = epochs.evaluate

    def never_better(state, batches, label):
        return dataclasses.replace(original(state, batches, label), acc1=0.5, loss=1.0)

    monkeypatch.setattr(epochs, "evaluate", never_better)
    options = dataclasses.replace(quick, epochs=5, name="run", **{option: value})
    fit.fit(options)
    metrics = (quick.logdir / "run" / "metrics.json").read_bytes()
    name = option.replace("_", "-")
    for more in (5, 9):
        with pytest.raises(UserError, match=rf"was ended by --{name} .* --weights"):
            fit.fit(dataclasses.replace(options, epochs=more, resume=quick.logdir / "run"))
    assert (quick.logdir / "run" / "metrics.json").read_bytes() == metrics


@pytest.fixture
def folder(tmp_path):
    """Digits written out as an image folder."""
    digits = datasets._digits(20, training=True)
    for part, chosen in (("train", range(120)), ("val", range(120, 150))):
        for i in chosen:
            path = tmp_path / "images" / part / str(int(digits.targets[i]) % 3) / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = digits.images[i, 0].numpy().astype(np.uint8)
            Image.fromarray(pixels).convert("RGB").save(path)
    return tmp_path / "images"


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a single core
def test_the_weights_do_not_depend_on_the_workers(folder, quick):
    for workers in (0, 1, 3):
        options = dataclasses.replace(
            recipe("lenet", "imagefolder"), data_root=folder, epochs=2, batch_size=16,
            image_size=16, augment="randaugment", logdir=quick.logdir, name=f"workers{workers}",
            workers=workers, val_fraction=0.2,
        )  # fmt: skip
        fit.fit(options)
    for workers in (1, 3):
        assert_equal_weights(quick.logdir / "workers0", quick.logdir / f"workers{workers}")


def test_sigterm_ends_the_command_with_its_own_code(tmp_path):
    arguments = ["--model", "lenet", "--epochs", "100", "--logdir", str(tmp_path), "--name", "run"]
    command = [sys.executable, "train.py", *arguments, "--checkpoint-every", "1steps"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert f"python train.py --resume {tmp_path / 'run'}" in errors
    assert "Traceback" not in errors
