"""`compare.py train`: one network, one seed, every layer set."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

import layers
import models
from layers.ops.registry import record
from tests.training.curves import events
from training import fit
from training.layer_sets import UnequalStart, compare
from training.train_state import TrainState


def like_torch(**changed):
    """torch.nn with some layers changed."""
    return SimpleNamespace(**{**vars(torch.nn), **changed})


@pytest.fixture
def sets(monkeypatch):
    """Change the layer sets: sets(name=layers, ...) replaces them all but torch's."""

    def use(**others):
        monkeypatch.setattr(models, "LAYER_SETS", {**others, "torch": torch.nn})

    return use


def test_in_float64_they_do_not_diverge(quick):
    found, folder = compare(dataclasses.replace(quick, dtype="float64"))
    assert set(found.divergences) == {"custom", "reference"}
    for divergence in found.divergences.values():
        assert len(divergence.differences) == 2 * 21  # 1293 images in batches of 64, twice
        assert divergence.first_beyond(1e-11) is None
        assert 0 < divergence.weights < 1e-11  # not torch's own layers twice
    assert found.failed == []
    accuracies = [curves.test_accuracy for curves in found.curves.values()]
    assert min(accuracies) == max(accuracies) > 0.2
    shared = {"loss/training", "loss/validation", "accuracy/validation"}
    for name in found.curves:  # equal names: one chart
        assert set(events(folder / name).Tags()["scalars"]) == shared
    points = events(folder / "custom").Scalars("loss/training")
    assert [point.step for point in points] == [*range(1, 43)]


def test_each_trains_as_it_would_alone(quick):
    """Though another's batches and augmentation are drawn in between."""
    found, _ = compare(quick)
    fit.fit(dataclasses.replace(quick, layers="torch", name="alone"))
    alone = events(quick.logdir / "alone" / "val").Scalars("epoch/loss")
    assert [point.value for point in alone] == pytest.approx(found.curves["torch"].val_losses)


def test_another_layer_set_is_compared_too(quick, sets):
    sets(custom=layers, another=torch.nn)
    found, folder = compare(dataclasses.replace(quick, epochs=1))
    assert list(found.divergences) == ["custom", "another"]
    assert found.divergences["another"].largest == found.divergences["another"].weights == 0
    assert (folder / "another").is_dir()


@pytest.mark.parametrize(("chosen", "by_kernels"), [("reference", False), ("custom", True)])
def test_some_layer_sets_and_how_they_are_computed(quick, chosen, by_kernels):
    with record() as calls:
        found, _ = compare(dataclasses.replace(quick, epochs=1), [chosen, "torch"])
    assert list(found.curves) == [chosen, "torch"]
    assert {"conv2d", "conv2d_weight"} <= {call.operator for call in calls}
    assert any(call.kernel for call in calls) == by_kernels


def test_other_parameters_from_the_same_seed_are_refused(quick, sets):
    class Linear(torch.nn.Linear):
        def reset_parameters(self):
            torch.nn.init.normal_(self.weight)
            torch.nn.init.zeros_(self.bias)

    sets(custom=like_torch(Linear=Linear))
    with pytest.raises(UnequalStart, match="custom and torch layers do not draw the same "):
        compare(quick)
    assert not list(quick.logdir.iterdir())


def test_a_layer_that_computes_something_else_is_found_in_float64(quick, sets):
    class ReLU(torch.nn.ReLU):
        def forward(self, x):
            return x.clamp(min=1e-4)

    sets(wrong=like_torch(ReLU=ReLU))
    found, _ = compare(dataclasses.replace(quick, epochs=1, dtype="float64"))
    assert found.failed == ["wrong"]


def test_the_plateau_is_told_of_every_epoch(quick, monkeypatch):
    told = []
    monkeypatch.setattr(TrainState, "epoch_ended", lambda self, loss: told.append(loss))
    found, _ = compare(dataclasses.replace(quick, epochs=1), ["custom", "torch"])
    assert told == [curves.val_losses[0] for curves in found.curves.values()]
