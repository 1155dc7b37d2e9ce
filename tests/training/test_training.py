"""The loop and what surrounds it: equal curves, schedules, checkpoints, resuming."""

import dataclasses
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training import checkpoint, data, fit
from training.errors import UserError
from training.judge import judge
from training.recipes import RECIPES, recipe
from training.schedule import scheduler

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def quick(tmp_path):
    """Two epochs of LeNet on a part of the digits."""
    return dataclasses.replace(
        recipe("lenet", "digits"),
        epochs=2,
        batch_size=64,
        image_size=16,
        logdir=tmp_path,
        log_every=3,
    )


def losses(options, steps):
    """The training losses of the first steps, from the options' seed."""
    fit.seed_everything(options.seed)
    dataset, classes = data.load(options, "train")
    learner = fit.new_learner(options, len(classes), steps, torch.device("cpu"))
    found = []
    while len(found) < steps:
        for images, targets in data.loader(dataset, options.batch_size, shuffle=True):
            loss = learner.criterion(learner.model(learner.preprocess(images)), targets)
            learner.optimizer.zero_grad()
            loss.backward()
            learner.optimizer.step()
            learner.scheduler.step()
            found.append(loss.item())
    return torch.tensor(found[:steps], dtype=torch.float64)


@pytest.mark.parametrize("model", RECIPES)
def test_both_layer_sets_draw_the_same_curve(model):
    """Fifty steps in float64 from the same seed: the losses agree to 1e-9."""
    options = dataclasses.replace(recipe(model, "digits"), dtype="float64")
    ours, theirs = (
        losses(dataclasses.replace(options, layers=layers), 50) for layers in ("custom", "torch")
    )
    assert ours[-10:].mean() < ours[:10].mean()
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def rates(**options):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    schedule = scheduler(optimizer, dataclasses.replace(recipe("lenet", "digits"), **options), 10)
    found = []
    for _ in range(options["epochs"] * 10):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


def test_schedules():
    step = rates(schedule="step", epochs=4, milestones=(0.5, 0.75), warmup_epochs=0)
    assert step == pytest.approx([1] * 20 + [0.1] * 10 + [0.01] * 10)
    cosine = rates(schedule="cosine", epochs=2, warmup_epochs=0)
    assert cosine == pytest.approx([0.5 * (1 + math.cos(math.pi * i / 20)) for i in range(20)])
    warm = rates(schedule="cosine", epochs=2, warmup_epochs=1)
    assert warm[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert warm[10] == 1
    assert warm[-1] < 0.1


def test_one_cycle_is_torch_s():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1.0, total_steps=1001, cycle_momentum=False
    )
    expected = []
    for _ in range(1000):
        expected.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    ours = rates(schedule="one-cycle", epochs=100)
    assert ours == pytest.approx(expected, abs=4e-3)


def test_fit_writes_what_it_says(quick, capsys):
    metrics = fit.fit(quick)
    folder = quick.logdir / "lenet-digits"
    assert metrics["test_accuracy"] == pytest.approx(1 - metrics["test_error"])
    assert {path.name for path in folder.iterdir()} >= {
        "last.pt",
        "best.pt",
        "config.yaml",
        "train",
        "val",
    }
    assert not list(folder.glob("*.tmp"))
    printed = capsys.readouterr().out
    assert "epoch 2/2" in printed
    assert "test accuracy" in printed

    run, train, val = (events(folder / part) for part in ("", "train", "val"))
    assert {"filters", "inputs/original", "misclassified", "confusion_matrix"} <= set(
        run.Tags()["images"]
    )
    assert "weights/features.0.weight" in run.Tags()["histograms"]
    assert "gradients/features.0.weight" in run.Tags()["histograms"]
    assert run.Tags()["graph"]
    assert "options/text_summary" in run.Tags()["tensors"]
    assert "_hparams_/session_start_info" in run.summary_metadata
    assert run.Scalars("final/test_accuracy")[0].value == pytest.approx(metrics["test_accuracy"])
    shared = {"epoch/loss", "epoch/accuracy"}
    assert shared <= set(train.Tags()["scalars"]) & set(val.Tags()["scalars"])
    assert {
        "step/loss",
        "step/learning_rate",
        "step/gradient_norm",
        "step/images_per_second",
    } <= set(train.Tags()["scalars"])

    # a second run takes a folder of its own
    fit.fit(dataclasses.replace(quick, epochs=1))
    assert (quick.logdir / "lenet-digits-2" / "best.pt").exists()
    with pytest.raises(UserError, match="already exists"):
        fit.fit(dataclasses.replace(quick, name="lenet-digits"))


def test_judge_agrees_with_fit_on_either_layer_set(quick):
    metrics = fit.fit(quick)
    folder = quick.logdir / "lenet-digits"
    verdicts = [judge(folder, layers=layers) for layers in ("custom", "torch")]
    for verdict in verdicts:
        assert verdict["top1"] == pytest.approx(metrics["test_accuracy"])
        assert verdict["loss"] == pytest.approx(metrics["test_loss"], rel=1e-4)
        assert verdict["top1"] <= verdict["top5"] <= 1
        assert sum(row["support"] for row in verdict["classes"].values()) == 360
        assert Path(verdict["confusion_png"]).stat().st_size > 1000
    validation = judge(folder, split="val")
    assert validation["top1"] == pytest.approx(metrics["best_val_accuracy"])


def test_another_number_of_classes_is_refused(quick, monkeypatch):
    fit.fit(dataclasses.replace(quick, epochs=1))
    original = data.load

    def fewer(options, split):
        dataset, classes = original(options, split)
        return dataset, classes[:7]

    monkeypatch.setattr(data, "load", fewer)
    with pytest.raises(UserError, match="tells 10 classes apart, but digits has 7"):
        judge(quick.logdir / "lenet-digits")


def test_a_loss_that_explodes_stops_and_keeps_the_last_good_checkpoint(quick):
    options = dataclasses.replace(quick, lr=1e12, warmup_epochs=0, schedule="step", milestones=())
    with pytest.raises(UserError, match=r"learning rate 1e\+12.*try --lr 1e\+11"):
        fit.fit(options)
    assert not (quick.logdir / "lenet-digits" / "last.pt").exists()  # there never was a good one


def test_an_image_too_small_says_the_smallest(quick):
    with pytest.raises(UserError, match="smallest that fits is 16 x 16"):
        fit.fit(dataclasses.replace(quick, image_size=12))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(quick):
    with pytest.raises(UserError, match="--device cpu or auto"):
        fit.fit(dataclasses.replace(quick, device="cuda"))


def test_checkpoints_that_are_none(tmp_path):
    options = recipe("lenet", "digits")
    good = tmp_path / "good.pt"
    checkpoint.save(good, options, model={"w": torch.ones(1000)})
    assert checkpoint.load(good)[0] == options
    bad = {
        "truncated.pt": good.read_bytes()[:500],
        "empty.pt": b"",
        "text.pt": b"hello",
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="not a readable checkpoint"):
            checkpoint.load(tmp_path / name)
    torch.save({"weights": torch.ones(3)}, tmp_path / "foreign.pt")
    with pytest.raises(UserError, match=r"not a checkpoint of train\.py"):
        checkpoint.load(tmp_path / "foreign.pt")
    with pytest.raises(UserError, match="no checkpoint at"):
        checkpoint.load(tmp_path / "absent.pt")


def test_a_checkpoint_cannot_execute_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.system, ("touch " + str(tmp_path / "executed"),))

    torch.save({"format": checkpoint.FORMAT, "options": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(UserError):
        checkpoint.load(tmp_path / "evil.pt")
    assert not (tmp_path / "executed").exists()


def test_a_crash_while_writing_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    options, path = recipe("lenet", "digits"), tmp_path / "last.pt"
    checkpoint.save(path, options, epoch=1)

    def torn(state, file):
        file.write(b"half of")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(path, options, epoch=2)
    monkeypatch.undo()
    assert checkpoint.load(path)[1]["epoch"] == 1


def test_random_state_comes_back():
    import random

    import numpy as np

    state = checkpoint.random_state()
    drawn = torch.rand(3), np.random.rand(3), random.random()
    checkpoint.restore_random_state(state)
    again = torch.rand(3), np.random.rand(3), random.random()
    assert torch.equal(drawn[0], again[0])
    assert (drawn[1] == again[1]).all()
    assert drawn[2] == again[2]


def events(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    return accumulator


def test_killed_and_resumed_is_bit_identical(tmp_path):
    """SIGKILL in the middle of the second epoch, resume, finish: as if nothing had happened."""
    arguments = ["--model", "lenet", "--epochs", "3", "--batch-size", "4", "--log-every", "5"]

    def start(*more):
        command = [sys.executable, "train.py", "--logdir", str(tmp_path), *more]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    whole = start(*arguments, "--name", "whole")
    assert whole.wait() == 0, whole.stdout.read()
    killed = start(*arguments, "--name", "killed")
    last = tmp_path / "killed" / "last.pt"
    deadline = time.monotonic() + 120
    while not last.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)  # into the second epoch
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert checkpoint.load(last)[1]["epoch"] == 1
    resumed = start("--resume", str(tmp_path / "killed"))
    assert resumed.wait() == 0, resumed.stdout.read()

    _, a = checkpoint.load(tmp_path / "whole" / "last.pt")
    _, b = checkpoint.load(last)
    for name, weight in a["model"].items():
        assert torch.equal(weight, b["model"][name]), name
    assert a["metrics"] == b["metrics"]
    assert torch.equal(a["random"]["torch"], b["random"]["torch"])
    for part, tags in (("train", ("step/loss", "epoch/loss")), ("val", ("epoch/accuracy",))):
        for tag in tags:  # the same curve: no gap, no overlap
            curves = [
                [(e.step, e.value) for e in events(tmp_path / run / part).Scalars(tag)]
                for run in ("whole", "killed")
            ]
            assert curves[0] == curves[1]
    for process in (whole, killed, resumed):
        process.stdout.close()
