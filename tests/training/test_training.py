"""Whole runs: equal curves from both layer sets, what is written, how a run stops."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from layers.ops.registry import record
from tests.training.curves import events
from training import epochs, fit
from training.data import datasets
from training.data.batches import training_batches
from training.errors import UserError
from training.evaluation.evaluate_checkpoint import evaluate_checkpoint
from training.monitor.plots import confusion
from training.randomness import seed_everything
from training.recipes import recipe
from training.train_state import new_train_state


def losses(options, steps):
    """The training losses of the first steps, from the options' seed."""
    seed_everything(options.seed)
    (dataset,), classes = datasets.load(options, "train")
    state = new_train_state(options, len(classes), steps * options.batch_size, torch.device("cpu"))
    found, epoch = [], 0
    while len(found) < steps:
        epoch += 1
        for images, targets, _ in training_batches(dataset, options, epoch):
            loss = state.criterion(state.model(state.preprocess(images)), targets)
            state.optimizer.zero_grad()
            loss.backward()
            state.optimizer.step()
            state.scheduler.step()
            found.append(loss.item())
    return torch.tensor(found[:steps], dtype=torch.float64)


@pytest.mark.parametrize("model", ["lenet", "lenet5"])
def test_both_layer_sets_draw_the_same_curve(model):
    """Fifty steps in float64 from the same seed: the losses agree to 1e-9."""
    options = dataclasses.replace(recipe(model, "digits"), dtype="float64")
    ours, theirs = (
        losses(dataclasses.replace(options, layers=layers), 50) for layers in ("custom", "torch")
    )
    assert ours[-10:].mean() < ours[:10].mean()
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


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
    assert not run.Tags()["histograms"]  # which --profile asks for
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
    verdicts = [evaluate_checkpoint(folder, layers=layers) for layers in ("custom", "torch")]
    for verdict in verdicts:
        assert verdict["top1"] == pytest.approx(metrics["test_accuracy"])
        assert verdict["loss"] == pytest.approx(metrics["test_loss"], rel=1e-4)
        assert verdict["top1"] <= verdict["top5"] <= 1
        assert sum(row["support"] for row in verdict["classes"].values()) == 360
        assert Path(verdict["confusion_png"]).stat().st_size > 1000
    curve = [e.step for e in events(folder / "val").Scalars("epoch/accuracy")]
    validation = evaluate_checkpoint(folder, split="val")
    assert validation["top1"] == pytest.approx(metrics["best_val_accuracy"])
    assert [e.step for e in events(folder / "val").Scalars("epoch/accuracy")] == curve
    with pytest.raises(UserError, match="--batch-size must be at least 1"):
        evaluate_checkpoint(folder, batch_size=0)


def test_the_reference_is_trained_and_judged_by_the_definitions_alone(quick):
    with record() as calls:
        metrics = fit.fit(dataclasses.replace(quick, layers="reference", epochs=1))
    assert {"conv2d", "conv2d_weight", "max_pool2d_backward"} <= {call.operator for call in calls}
    assert not any(call.kernel for call in calls)
    for layers, computed_by_kernels in (("reference", False), ("custom", True), ("torch", False)):
        with record() as calls:
            verdict = evaluate_checkpoint(quick.logdir / "lenet-digits", layers=layers)
        assert any(call.kernel for call in calls) == computed_by_kernels
        assert verdict["layers"] == layers
        assert verdict["top1"] == pytest.approx(metrics["test_accuracy"])
        assert verdict["loss"] == pytest.approx(metrics["test_loss"], rel=1e-4)


def test_another_number_of_classes_is_refused(quick, monkeypatch):
    fit.fit(dataclasses.replace(quick, epochs=1))
    original = datasets.load

    def fewer(options, *parts):
        parts, classes = original(options, *parts)
        return parts, classes[:7]

    monkeypatch.setattr(datasets, "load", fewer)
    with pytest.raises(UserError, match="tells 10 classes apart, but digits has 7"):
        evaluate_checkpoint(quick.logdir / "lenet-digits")


def test_a_loss_that_explodes_stops_and_keeps_the_last_good_checkpoint(quick):
    options = dataclasses.replace(quick, lr=1e12, warmup_epochs=0, schedule="step", milestones=())
    with pytest.raises(UserError, match=r"--lr 1e\+12, first at step 2: .* --lr 1e\+11"):
        fit.fit(options)
    assert not (quick.logdir / "lenet-digits" / "last.pt").exists()  # there never was a good one


def test_a_loss_that_is_finite_in_training_alone_is_not_saved(quick, monkeypatch):
    """The training loss is measured before the update that may ruin the network."""
    fit.fit(dataclasses.replace(quick, epochs=1, name="run"))
    good = (quick.logdir / "run" / "last.pt").read_bytes()
    original = epochs.evaluate

    def ruined(state, batches, label):
        return dataclasses.replace(original(state, batches, label), loss=math.nan)

    monkeypatch.setattr(epochs, "evaluate", ruined)
    with pytest.raises(UserError, match=r"last\.pt keeps the last good step"):
        fit.fit(dataclasses.replace(quick, epochs=2, resume=quick.logdir / "run"))
    assert (quick.logdir / "run" / "last.pt").read_bytes() == good


def test_of_two_epochs_equally_right_the_surer_one_is_best(quick, monkeypatch):
    original, losses = epochs.evaluate, iter([0.5, 0.2, 0.4])

    def seen(state, batches, label):
        result = original(state, batches, label)
        if label == "test":
            return result
        return dataclasses.replace(result, acc1=0.5, loss=next(losses))

    monkeypatch.setattr(epochs, "evaluate", seen)
    assert fit.fit(dataclasses.replace(quick, epochs=3))["best_epoch"] == 2


def test_an_image_too_small_says_the_smallest(quick):
    with pytest.raises(UserError, match="smallest that fits is 16 x 16"):
        fit.fit(dataclasses.replace(quick, image_size=12))


def test_a_picture_of_many_classes_stays_small():
    targets = torch.arange(300)
    figure = confusion(targets, targets, [str(i) for i in range(300)])
    assert max(figure.get_size_inches()) <= 14
