"""Runs that start from weights: what is loaded, what is trained and how fast, and resuming them."""

import dataclasses
import shutil

import pytest
import torch

import models
from models import pretrained
from tests.training.curves import events
from training import epochs, fit, recipes
from training.checkpoints import checkpoint
from training.data import datasets
from training.errors import UserError
from training.evaluation.evaluate_checkpoint import evaluate_checkpoint
from training.fine_tuning import load_weights, train_mode
from training.randomness import seed_everything
from training.train_state import new_model, new_train_state

WITH_NORM = "INPUT -> CONV3-8 -> BN -> RELU -> POOL2 -> CONV3-10 -> BN -> GAP"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The checkpoint of a run, from which others start."""
    options = dataclasses.replace(
        recipes.recipe("lenet", "digits"), epochs=1, batch_size=64, image_size=16,
        logdir=tmp_path_factory.mktemp("runs"), name="source",
    )  # fmt: skip
    fit.fit(options)
    return options.logdir / "source" / "best.pt"


def state(path):
    return checkpoint.load(path)[1]["model"]


def changed(a, b):
    return {key for key in a if not torch.equal(a[key], b[key])}


def test_a_run_starts_from_the_weights(quick, trained, capsys):
    fit.fit(dataclasses.replace(quick, weights=str(trained), lr=1e-9, name="next", epochs=1))
    assert f"  weights  from {trained}\n" in capsys.readouterr().out
    for key, value in state(trained).items():
        torch.testing.assert_close(state(quick.logdir / "next" / "last.pt")[key], value)
    # the folder's name means its best.pt
    options = dataclasses.replace(quick, weights=str(trained.parent))
    model = new_model(options, 10)
    load_weights(model, options)
    assert not changed(state(trained), model.state_dict())


def test_freeze_trains_the_head_alone(quick, trained, capsys):
    options = dataclasses.replace(quick, weights=str(trained), freeze=True, name="frozen")
    fit.fit(options)
    printed = capsys.readouterr().out
    assert "lenet, 15,626 parameters (850 of them trained), custom layers" in printed
    after = state(quick.logdir / "frozen" / "last.pt")
    assert changed(state(trained), after) == {"classifier.4.weight", "classifier.4.bias"}
    # without momentum or weight decay for what stands still
    optimizer = checkpoint.load(quick.logdir / "frozen" / "last.pt")[1]["optimizer"]
    assert len(optimizer["state"]) == 2
    verdict = evaluate_checkpoint(quick.logdir / "frozen")
    assert verdict["top1"] > 0.1


def test_head_lr_is_a_rate_of_its_own_on_the_same_schedule(quick, trained):
    options = dataclasses.replace(
        quick, weights=str(trained), lr=0.001, head_lr=0.08, log_every=1, name="two"
    )
    fit.fit(options)
    curves = events(quick.logdir / "two" / "train")
    body, head = (
        [event.value for event in curves.Scalars(f"step/{name}")]
        for name in ("learning_rate", "head_learning_rate")
    )
    assert len(body) == len(head) == 42
    assert max(body) == pytest.approx(0.001, rel=0.05)
    for slow, fast in zip(body, head, strict=True):
        assert fast == pytest.approx(80 * slow, rel=1e-4)


def test_a_frozen_head_s_rate_is_the_head_s(quick, trained):
    options = dataclasses.replace(quick, weights=str(trained), freeze=True, lr=0.5, head_lr=0.01)
    train_state = new_train_state(options, 10, 5 * options.batch_size, CPU)
    assert [group["initial_lr"] for group in train_state.optimizer.param_groups] == [0.01]
    train_state = new_train_state(
        dataclasses.replace(options, head_lr=None), 10, 5 * options.batch_size, CPU
    )
    assert [group["initial_lr"] for group in train_state.optimizer.param_groups] == [0.5]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_one_group_of_everything_is_what_it_was(quick, optimizer):
    """Equal rates by name or by default: the same steps."""
    losses = []
    for head_lr in (None, quick.lr):
        options = dataclasses.replace(quick, optimizer=optimizer, head_lr=head_lr)
        seed_everything(0)
        train_state = new_train_state(options, 10, 5 * options.batch_size, CPU)
        x, targets = torch.randn(8, 1, 16, 16), torch.arange(8)
        for _ in range(3):
            train_state.optimizer.zero_grad()
            loss = train_state.criterion(train_state.model(x), targets)
            loss.backward()
            train_state.optimizer.step()
            train_state.scheduler.step()
        losses.append(loss.item())
    assert losses[0] == losses[1]


def test_frozen_batch_normalisation_keeps_its_statistics(quick):
    options = dataclasses.replace(quick, model=WITH_NORM, weights="any", freeze=True)
    model = new_train_state(options, 10, 5 * options.batch_size, CPU).model
    before = {key: value.clone() for key, value in model.state_dict().items()}
    train_mode(model)
    assert model.training
    model(torch.randn(4, 1, 16, 16))
    head = {f"features.5.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert changed(before, model.state_dict()) == head
    free = new_train_state(
        dataclasses.replace(options, freeze=False), 10, 5 * options.batch_size, CPU
    ).model
    train_mode(free)
    assert all(module.training for module in free.modules())


@pytest.fixture
def three_classes(monkeypatch):
    """Digits with other classes: modulo three."""
    original = datasets._digits

    def digits(*arguments):
        whole = original(*arguments)
        return datasets.InMemory(whole.images, whole.targets % 3, ["a", "b", "c"])

    monkeypatch.setattr(datasets, "_digits", digits)


def test_other_classes_replace_the_head(quick, trained, three_classes, capsys):
    fit.fit(dataclasses.replace(quick, weights=str(trained), freeze=True, name="three"))
    printed = capsys.readouterr().out
    assert f"from {trained}; new for 3 classes instead of 10: classifier.4\n" in printed
    after = state(quick.logdir / "three" / "last.pt")
    assert after["classifier.4.weight"].shape == (3, 84)
    assert torch.equal(after["features.0.weight"], state(trained)["features.0.weight"])
    assert evaluate_checkpoint(quick.logdir / "three")["top1"] > 0.4


def test_num_classes_makes_room(quick, trained):
    options = dataclasses.replace(quick, weights=str(trained), num_classes=12, name="roomy")
    fit.fit(options)
    assert state(quick.logdir / "roomy" / "best.pt")["classifier.4.bias"].shape == (12,)
    assert evaluate_checkpoint(quick.logdir / "roomy")["images"] == 360
    with pytest.raises(UserError, match="--num-classes 9, but digits has 10 classes"):
        fit.fit(dataclasses.replace(options, num_classes=9))


@pytest.mark.parametrize(
    "changes",
    [{"freeze": True, "model": WITH_NORM}, {"head_lr": 0.02, "lr": 0.002}],
    ids=["freeze", "head_lr"],
)
def test_a_resumed_run_is_bit_identical_and_needs_the_weights_no_more(quick, changes, monkeypatch):
    quick = dataclasses.replace(quick, epochs=1, model=changes.get("model", quick.model))
    fit.fit(dataclasses.replace(quick, name="source"))
    weights = quick.logdir / "weights.pt"
    shutil.copy(quick.logdir / "source" / "best.pt", weights)
    options = dataclasses.replace(quick, epochs=2, weights=str(weights), **changes)
    fit.fit(dataclasses.replace(options, name="whole"))
    original, labels = epochs.train_one_epoch, []

    def cut(*arguments):
        labels.append(1)
        if len(labels) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(epochs, "train_one_epoch", cut)
    with pytest.raises(KeyboardInterrupt):
        fit.fit(dataclasses.replace(options, name="cut"))
    monkeypatch.undo()
    weights.unlink()
    fit.fit(dataclasses.replace(options, name="cut", resume=quick.logdir / "cut"))
    whole, cut_run = (
        checkpoint.load(quick.logdir / name / "last.pt")[1] for name in ("whole", "cut")
    )
    assert not changed(whole["model"], cut_run["model"])
    assert whole["metrics"] == cut_run["metrics"]
    for tag in ("step/loss", "step/head_learning_rate"):
        curves = [
            [(e.step, e.value) for e in events(quick.logdir / name / "train").Scalars(tag)]
            for name in ("whole", "cut")
        ]
        assert curves[0] == curves[1]


def test_a_run_cut_before_its_first_checkpoint_takes_the_weights_again(quick, trained):
    options = dataclasses.replace(quick, weights=str(trained), epochs=1)
    fit.fit(dataclasses.replace(options, name="whole"))
    fit.fit(dataclasses.replace(options, name="cut"))
    for name in ("last.pt", "best.pt", "metrics.json"):
        (quick.logdir / "cut" / name).unlink()
    fit.fit(dataclasses.replace(options, name="cut", resume=quick.logdir / "cut"))
    runs = [state(quick.logdir / name / "last.pt") for name in ("whole", "cut")]
    assert not changed(*runs)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": "absent.pt"}, r"--weights absent\.pt: there is no file absent\.pt"),
        ({"weights": "imagenet"}, "there are no ImageNet weights for lenet, only for alexnet_owt"),
        ({"model": "lenet5"}, "these are not the weights of lenet5"),
        ({"image_size": 20}, "were trained on images of another size"),
    ],
)
def test_weights_that_do_not_fit_leave_no_run_behind(quick, trained, changes, words):
    with pytest.raises(UserError, match=words):
        fit.fit(dataclasses.replace(quick, **{"weights": str(trained), "name": "x"} | changes))
    assert not (quick.logdir / "x").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"freeze": True}, "--freeze keeps weights that are trained: say which with --weights"),
        ({"head_lr": 0.0}, r"--head-lr must be positive, got 0\.0"),
        ({"head_lr": float("nan")}, "--head-lr must be finite"),
    ],
)
def test_impossible_options(changes, words):
    with pytest.raises(UserError, match=words):
        dataclasses.replace(recipes.recipe("lenet", "digits"), **changes).check()


class Rescaling(torch.nn.Module):
    """A network with GoogLeNet's switch."""

    def __init__(self, num_classes, image_size, **_):
        super().__init__()
        self.transform_input = False
        self.fc = torch.nn.Linear(image_size**2, num_classes)

    def forward(self, x):
        return self.fc(torch.flatten(-x if self.transform_input else x, 1))


def test_the_expected_pixels_travel_with_the_weights(quick, monkeypatch):
    """From bare weights (torchvision's) to a run, its evaluation, its resumption, the next run."""
    monkeypatch.setitem(models.MODELS, "googlenet_bn", Rescaling)
    torch.save(Rescaling(10, 16).state_dict(), quick.logdir / "weights.pth")
    options = dataclasses.replace(
        quick, model="googlenet_bn", weights=str(quick.logdir / "weights.pth"), name="a", epochs=1
    )
    metrics = fit.fit(options)
    assert evaluate_checkpoint(quick.logdir / "a")["loss"] == pytest.approx(metrics["test_loss"])
    again = fit.fit(dataclasses.replace(options, resume=quick.logdir / "a", epochs=2))
    assert again["test_loss"] < metrics["test_loss"]
    options = dataclasses.replace(options, name="b", weights=str(quick.logdir / "a"), lr=1e-9)
    assert fit.fit(options)["test_loss"] == pytest.approx(again["test_loss"], rel=1e-3)
    fit.fit(dataclasses.replace(options, name="c", weights=None))
    for name, expected in (("b", True), ("c", False)):
        assert checkpoint.load(quick.logdir / name / "best.pt")[1]["transform_input"] is expected


def test_the_average_expects_the_same_pixels(quick, monkeypatch):
    """Else the best epoch would be chosen by wrongly scaled images."""
    monkeypatch.setitem(models.MODELS, "googlenet_bn", Rescaling)
    torch.save(Rescaling(10, 16).state_dict(), quick.logdir / "weights.pth")
    weights = str(quick.logdir / "weights.pth")
    options = dataclasses.replace(quick, model="googlenet_bn", weights=weights, ema=0.9)
    state = new_train_state(options, 10, 5 * options.batch_size, CPU)
    state.start_from_weights()
    assert state.model.transform_input
    assert state.evaluated.transform_input
    resumed = new_train_state(options, 10, 5 * options.batch_size, CPU)
    resumed.load_state_dict(state.state_dict())
    assert resumed.evaluated.transform_input


def test_of_an_averaged_run_the_average_is_loaded(quick):
    """It is what was validated, and what evaluate.py takes."""
    fit.fit(dataclasses.replace(quick, ema=0.9, epochs=1, name="averaged"))
    saved = checkpoint.load(quick.logdir / "averaged" / "best.pt")[1]
    model = new_model(quick, 10)
    pretrained.load(model, quick.model, str(quick.logdir / "averaged"))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, saved["ema"][f"module.{name}"])
    last = "classifier.4.weight"
    assert not torch.equal(saved["ema"][f"module.{last}"], saved["model"][last])
