"""`compare.py train`: one network, one seed, every layer set."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

import layers
import models
from tests.training.curves import events
from training import fit
from training.layer_sets import UnequalStart, compare


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
    (divergence,) = found.divergences.values()
    assert len(divergence.differences) == 2 * 21  # 1293 images in batches of 64, twice
    assert divergence.first_beyond(1e-11) is None
    assert 0 < divergence.weights < 1e-11  # not torch's own layers twice
    assert found.failed == []
    assert found.curves["custom"].test_accuracy == found.curves["torch"].test_accuracy > 0.2
    tags = {name: set(events(folder / name).Tags()["scalars"]) for name in found.curves}
    assert tags["custom"] == tags["torch"]  # equal names: one chart
    assert tags["custom"] == {"loss/training", "loss/validation", "accuracy/validation"}
    points = events(folder / "custom").Scalars("loss/training")
    assert [point.step for point in points] == [*range(1, 43)]


def test_each_trains_as_it_would_alone(quick):
    """Though another's batches and augmentation are drawn in between."""
    found, _ = compare(quick)
    fit.fit(dataclasses.replace(quick, layers="torch", name="alone"))
    alone = events(quick.logdir / "alone" / "val").Scalars("epoch/loss")
    assert [point.value for point in alone] == pytest.approx(found.curves["torch"].val_losses)


def test_a_third_layer_set_is_compared_too(quick, sets):
    sets(custom=layers, reference=torch.nn)
    found, folder = compare(dataclasses.replace(quick, epochs=1))
    assert list(found.divergences) == ["custom", "reference"]
    assert found.divergences["reference"].largest == found.divergences["reference"].weights == 0
    assert (folder / "reference").is_dir()


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
