"""The loop and what surrounds it: equal curves, schedules, checkpoints, resuming."""

import contextlib
import dataclasses
import json
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
from training.figures import confusion
from training.judge import judge
from training.learner import new_learner, seed_everything
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
    seed_everything(options.seed)
    (dataset,), classes = data.load(options, "train")
    learner = new_learner(options, len(classes), steps, torch.device("cpu"))
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


def rates(steps=10, **options):
    """The learning rate at every step, as a part of the highest; `steps` in an epoch."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    options = dataclasses.replace(recipe("lenet", "digits"), **options)
    schedule = scheduler(optimizer, options, steps)
    found = []
    for _ in range(options.epochs * steps):
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


@pytest.mark.parametrize("schedule", ["step", "cosine", "one-cycle"])
@pytest.mark.parametrize("warmup_epochs", [0, 1, 2, 3])
def test_every_schedule_survives_its_last_step(schedule, warmup_epochs):
    found = rates(schedule=schedule, epochs=2, warmup_epochs=warmup_epochs)
    assert all(0 <= rate <= 1 for rate in found)


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
    ours = rates(schedule="one-cycle", epochs=100, warmup_epochs=0)
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
        "step/accuracy",
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
    curve = [e.step for e in events(folder / "val").Scalars("epoch/accuracy")]
    validation = judge(folder, split="val")
    assert validation["top1"] == pytest.approx(metrics["best_val_accuracy"])
    assert [e.step for e in events(folder / "val").Scalars("epoch/accuracy")] == curve
    with pytest.raises(UserError, match="--batch-size must be at least 1"):
        judge(folder, batch_size=0)


def test_another_number_of_classes_is_refused(quick, monkeypatch):
    fit.fit(dataclasses.replace(quick, epochs=1))
    original = data.load

    def fewer(options, *parts):
        datasets, classes = original(options, *parts)
        return datasets, classes[:7]

    monkeypatch.setattr(data, "load", fewer)
    with pytest.raises(UserError, match="tells 10 classes apart, but digits has 7"):
        judge(quick.logdir / "lenet-digits")


def test_a_loss_that_explodes_stops_and_keeps_the_last_good_checkpoint(quick):
    options = dataclasses.replace(quick, lr=1e12, warmup_epochs=0, schedule="step", milestones=())
    with pytest.raises(UserError, match=r"--lr 1e\+12: start a new run with --lr 1e\+11"):
        fit.fit(options)
    assert not (quick.logdir / "lenet-digits" / "last.pt").exists()  # there never was a good one


def test_a_loss_that_is_finite_in_training_alone_is_not_saved(quick, monkeypatch):
    """The training loss is measured before the update that may ruin the network."""
    fit.fit(dataclasses.replace(quick, epochs=1, name="run"))
    good = (quick.logdir / "run" / "last.pt").read_bytes()
    original = fit.evaluate

    def ruined(learner, batches, label):
        return dataclasses.replace(original(learner, batches, label), loss=math.nan)

    monkeypatch.setattr(fit, "evaluate", ruined)
    with pytest.raises(UserError, match=r"last\.pt keeps the last good epoch"):
        fit.fit(dataclasses.replace(quick, epochs=2, resume=quick.logdir / "run"))
    assert (quick.logdir / "run" / "last.pt").read_bytes() == good


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
    content = good.read_bytes()
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):  # a byte overwritten here and there: readable, or a sentence
        at = int(torch.randint(len(content), (), generator=generator))
        good.write_bytes(content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :])
        with contextlib.suppress(UserError):
            checkpoint.load(good)
    good.write_bytes(content)
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


def test_a_finished_run_is_not_trained_or_tested_again(quick):
    fit.fit(quick)
    folder = quick.logdir / "lenet-digits"
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    for epochs in (1, 2):
        with pytest.raises(UserError, match="has trained 2 epochs already"):
            fit.fit(dataclasses.replace(quick, resume=folder, epochs=epochs))
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_more_epochs_continue_on_the_new_schedule(quick):
    """Half a cosine over two epochs ends at zero; over four it is then half way."""
    fit.fit(quick)
    folder = quick.logdir / "lenet-digits"
    fit.fit(dataclasses.replace(quick, resume=folder / "last.pt", epochs=4))
    curve = events(folder / "train").Scalars("step/learning_rate")
    expected = rates(21, epochs=4)  # 1293 images in batches of 64
    late = [event for event in curve if event.step > 2 * 21]
    assert len(late) > 10
    for event in late:
        assert event.value == pytest.approx(expected[event.step - 1] * quick.lr, rel=1e-5)
    assert len({event.step for event in curve}) == len(curve)


def test_an_extended_run_that_is_cut_before_its_test_can_be_resumed(quick, monkeypatch):
    fit.fit(quick)
    folder = quick.logdir / "lenet-digits"

    def cut(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "test", cut)
    with pytest.raises(KeyboardInterrupt):
        fit.fit(dataclasses.replace(quick, resume=folder, epochs=3))
    monkeypatch.undo()
    metrics = fit.fit(dataclasses.replace(quick, resume=folder, epochs=3))
    assert json.loads((folder / "metrics.json").read_text()) == metrics


def test_a_run_cut_before_its_first_checkpoint_starts_again(quick):
    fit.fit(dataclasses.replace(quick, name="whole"))
    fit.fit(dataclasses.replace(quick, name="cut", epochs=1))
    for name in ("last.pt", "best.pt", "metrics.json"):
        (quick.logdir / "cut" / name).unlink()
    fit.fit(dataclasses.replace(quick, resume=quick.logdir / "cut"))
    whole, again = (
        checkpoint.load(quick.logdir / name / "last.pt")[1]["model"] for name in ("whole", "cut")
    )
    for key, value in whole.items():
        assert torch.equal(value, again[key])


def test_a_crash_between_the_two_checkpoints_repeats_an_epoch(quick, monkeypatch):
    fit.fit(dataclasses.replace(quick, name="whole"))
    original, saved = checkpoint.save, []

    def crash(path, *arguments, **state):
        if path.name == "last.pt":
            raise KeyboardInterrupt
        saved.append(path.name)
        original(path, *arguments, **state)

    monkeypatch.setattr(checkpoint, "save", crash)
    with pytest.raises(KeyboardInterrupt):
        fit.fit(dataclasses.replace(quick, name="cut"))
    monkeypatch.undo()
    assert saved == ["best.pt"]
    fit.fit(dataclasses.replace(quick, resume=quick.logdir / "cut"))
    states = [checkpoint.load(quick.logdir / name / "last.pt")[1] for name in ("whole", "cut")]
    assert states[0]["metrics"] == states[1]["metrics"]


def test_a_checkpoint_of_another_run_is_refused(quick):
    fit.fit(dataclasses.replace(quick, name="a", epochs=1))
    fit.fit(dataclasses.replace(quick, name="b", epochs=1, lr=0.125))
    (quick.logdir / "b" / "last.pt").replace(quick.logdir / "a" / "last.pt")
    with pytest.raises(UserError, match=r"trained with --lr 0\.125, but .* another run"):
        fit.fit(dataclasses.replace(quick, resume=quick.logdir / "a", epochs=3))


def test_a_picture_of_many_classes_stays_small():
    targets = torch.arange(300)
    figure = confusion(targets, targets, [str(i) for i in range(300)])
    assert max(figure.get_size_inches()) <= 14


def events(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    return accumulator


@pytest.mark.parametrize("model", RECIPES)
def test_killed_and_resumed_is_bit_identical(tmp_path, model):
    """SIGKILL in the middle of the second epoch, resume, finish: as if nothing had happened."""
    arguments = ["--model", model, "--epochs", "3", "--batch-size", "4", "--log-every", "5"]

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
    done = checkpoint.load(last)[1]["step"]
    steps = []
    while not (steps and steps[-1] > done) and time.monotonic() < deadline:
        time.sleep(0.02)  # until it has logged steps of the next epoch
        steps = [e.step for e in events(tmp_path / "killed" / "train").Scalars("step/loss")]
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert steps[-1] > done
    assert 1 <= checkpoint.load(last)[1]["epoch"] < 3
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
