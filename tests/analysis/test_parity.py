"""compare.py models: equal layer sets pass, a wrong one fails."""

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

import layers
import models
from analysis import accuracy, parity, timing
from analysis.networks import Networks
from analysis.setting import Setting

SETTING = Setting(seconds=0)
TOLERANCE = accuracy.NETWORK[torch.float32]


@pytest.fixture(autouse=True)
def once(monkeypatch):
    monkeypatch.setattr(timing, "BLOCK", 0)


@pytest.mark.parametrize("name", ["lenet", "lenet5"])
def test_both_layer_sets_agree_over_a_training_run(name):
    found = parity.compare(name, SETTING, batch_size=8)
    assert found.shape == (8, 1, 32, 32)
    assert found.exact < 1e-12
    for errors in (found.logits, found.gradients, found.losses):
        assert max(errors.values()) < 1e-5
    assert found.within(TOLERANCE)
    assert found.ratio.low > 0
    assert min(found.peak.values()) > memory_of(models.build(name))


def memory_of(model):
    return sum(p.numel() * p.element_size() for p in model.parameters())


@pytest.mark.parametrize(
    "setting",
    [
        Setting(dtype=torch.bfloat16, seconds=0),
        Setting(dtype=torch.float64, seconds=0),
        Setting(memory_format=torch.channels_last, seconds=0),
    ],
    ids=["bfloat16", "float64", "channels_last"],
)
def test_other_settings(setting):
    found = parity.compare("lenet", setting, batch_size=4, image_size=28, num_classes=7)
    assert found.shape == (4, 1, 28, 28)
    assert found.within(accuracy.NETWORK[setting.dtype])


def test_a_wrong_layer_is_found(monkeypatch):
    def wrong(self, x):
        return 1.01 * torch.nn.functional.linear(x, self.weight, self.bias)

    monkeypatch.setattr(parity.layers.Linear, "forward", wrong)
    found = parity.compare("lenet", SETTING, batch_size=4)
    assert found.logits["ours"] > 1e-3 > found.logits["torch.nn"]
    assert found.exact > 1e-3
    assert not found.within(TOLERANCE)


def measured(**errors):
    none = {"ours": 0.0, "torch.nn": 0.0}
    found = {"exact": 0.0, "logits": none, "gradients": none, "losses": none, **errors}
    return parity.Parity("", (), **found, times={}, peak={})


def test_every_error_counts_and_nan_is_one():
    assert measured().within(TOLERANCE)
    assert not measured(exact=math.nan).within(TOLERANCE)
    for name in ("logits", "gradients", "losses"):
        for wrong in (2 * TOLERANCE, math.nan):
            assert not measured(**{name: {"ours": wrong, "torch.nn": 0.0}}).within(TOLERANCE)


def test_ours_may_err_some_times_as_much_as_torch_s():
    theirs = TOLERANCE
    ours = 0.9 * accuracy.AS_THEIRS * theirs
    assert measured(losses={"ours": ours, "torch.nn": theirs}).within(TOLERANCE)
    assert not measured(losses={"ours": ours, "torch.nn": theirs / 10}).within(TOLERANCE)


class Answer(NamedTuple):
    logits: Tensor
    aux1: Tensor


class TwoHeads(torch.nn.Module):
    """As a network with an auxiliary head: a tuple in training, and batch norm and dropout."""

    def __init__(self, num_classes=5, *, in_channels=3, image_size=72, nn=layers):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 4, 3, stride=4), nn.BatchNorm2d(4), nn.ReLU(),
            nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        self.fc, self.aux1 = nn.Linear(4, num_classes), nn.Linear(4, num_classes)
        if image_size < 8:
            raise ValueError("too small: the smallest that fits is 8 x 8")

    def forward(self, x):
        x = self.features(x)
        return Answer(self.fc(x), self.aux1(x)) if self.training else self.fc(x)

    @staticmethod
    def criterion(label_smoothing, nn):
        loss = nn.CrossEntropyLoss(label_smoothing=label_smoothing)
        return lambda answer, targets: loss(answer.logits, targets) + loss(answer.aux1, targets)


@pytest.fixture
def two_heads(monkeypatch):
    monkeypatch.setitem(models.MODELS, "two-heads", TwoHeads)


def test_a_network_with_two_heads_and_its_own_defaults(two_heads):
    found = parity.compare("two-heads", SETTING, image_size=16, batch_size=4)
    assert found.shape == (4, 3, 16, 16)
    assert found.within(TOLERANCE)


def test_large_images_make_small_batches(two_heads, monkeypatch):
    assert parity.compare("two-heads", SETTING).shape == (16, 3, 72, 72)
    monkeypatch.setattr(parity, "BUDGET", 1)
    assert parity.compare("two-heads", SETTING).shape == (4, 3, 72, 72)


def test_where_masks_differ_dropout_is_left_out(two_heads, monkeypatch):
    def other_mask(self, x):
        return x * torch.rand_like(x).round() * 2 if self.training and self.p else x

    monkeypatch.setattr(layers.Dropout, "forward", other_mask)
    found = parity.compare("two-heads", SETTING, image_size=16, batch_size=4)
    assert "without dropout" in found.note
    assert found.within(TOLERANCE)


def test_the_default_is_one_network_of_each_family(monkeypatch):
    assert {"lenet", "lenet5"} <= {*parity.default_models()} <= {*models.MODELS}


def test_networks_are_told_in_tables(two_heads):
    networks, said = Networks(SETTING), []
    networks.run(["lenet", "two-heads"], said.append, batch_size=4, image_size=32)
    assert said[1].startswith("2/2  two-heads")
    assert not networks.failed
    numbers, prices = (table.text() for table in networks.tables())
    assert "4 x 3 x 32 x 32" in numbers
    assert "two-heads" in prices
    (first, _) = networks.document()["rows"]
    assert first["ours.step"] > 0
    assert [bar.name for bar in networks.bars()] == ["lenet", "two-heads"]
    with pytest.raises(ValueError, match="smallest that fits"):
        networks.run(["two-heads"], said.append, image_size=4)
