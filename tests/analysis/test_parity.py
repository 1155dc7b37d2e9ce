"""compare.py models: layer sets that agree pass, a wrong layer fails."""

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

import layers
import models
from analysis import accuracy, parity, timing
from analysis.benchmark_config import BenchmarkConfig
from analysis.model_benchmark import ModelBenchmark
from analysis.reference import ReferenceStep
from analysis.step import Batch, TrainingStep
from layers.ops.registry import record

CONFIG = BenchmarkConfig(seconds=0)
TOLERANCE = accuracy.NETWORK_TOLERANCE[torch.float32]


@pytest.fixture(autouse=True)
def no_repetitions(monkeypatch):
    monkeypatch.setattr(timing, "MIN_SECONDS", 0)


@pytest.mark.parametrize("name", ["lenet", "lenet5"])
def test_both_layer_sets_agree_during_training(name):
    found = parity.compare(name, CONFIG, batch_size=8)
    assert found.shape == (8, 1, 32, 32)
    assert found.exact < 1e-12
    for errors in (found.logits, found.gradients, found.losses):
        assert max(errors.values()) < 1e-5
    assert found.within(TOLERANCE)
    assert found.ratio.low > 0
    assert min(found.peak.values()) > parameter_bytes(models.build(name))


def parameter_bytes(model):
    return sum(p.numel() * p.element_size() for p in model.parameters())


@pytest.mark.parametrize(
    "config",
    [
        BenchmarkConfig(dtype=torch.bfloat16, seconds=0),
        BenchmarkConfig(dtype=torch.float64, seconds=0),
        BenchmarkConfig(memory_format=torch.channels_last, seconds=0),
    ],
    ids=["bfloat16", "float64", "channels_last"],
)
def test_other_dtypes_and_memory_formats(config):
    found = parity.compare("lenet", config, batch_size=4, image_size=28, num_classes=7)
    assert found.shape == (4, 1, 28, 28)
    assert found.within(accuracy.NETWORK_TOLERANCE[config.dtype])


def test_the_reference_is_measured_beside_the_others():
    benchmark = ModelBenchmark(BenchmarkConfig(seconds=0, reference=True))
    benchmark.run(["lenet"], lambda line: None, batch_size=8)
    (found,) = benchmark.results
    assert set(found.reference) == {"reference", "ours", "torch.nn"}
    assert set(found.times) == {"ours", "torch.nn"}
    assert max(found.logits["reference"], found.gradients["reference"]) < 1e-5
    assert found.peak["reference"] > found.peak["ours"]  # the columns of the whole batch
    table = benchmark.tables()[-1]
    assert table.title.startswith("What readability would cost")
    assert table.rows[0][0] == "lenet"
    (row,) = benchmark.document()["rows"]
    assert row["reference.over.ours.middle"] > 0


@pytest.mark.parametrize(("kind", "by_kernels"), [(ReferenceStep, False), (TrainingStep, True)])
def test_a_reference_step_is_computed_by_definitions(kind, by_kernels):
    step = kind(models.build("lenet"), layers, Batch(CONFIG, (4, 1, 32, 32), 10))
    with record() as calls:
        step()
    assert {"conv2d", "conv2d_weight", "max_pool2d_backward"} <= {call.operator for call in calls}
    assert any(call.kernel for call in calls) == by_kernels


def test_a_wrong_layer_is_detected(monkeypatch):
    def wrong(self, x):
        return 1.01 * torch.nn.functional.linear(x, self.weight, self.bias)

    monkeypatch.setattr(parity.layers.Linear, "forward", wrong)
    found = parity.compare("lenet", CONFIG, batch_size=4)
    assert found.logits["ours"] > 1e-3 > found.logits["torch.nn"]
    assert found.exact > 1e-3
    assert not found.within(TOLERANCE)


def parity_with(**errors):
    none = {"ours": 0.0, "torch.nn": 0.0}
    found = {"exact": 0.0, "logits": none, "gradients": none, "losses": none, **errors}
    return parity.Parity("", (), **found, times={}, peak={})


def test_every_error_counts_and_so_does_nan():
    assert parity_with().within(TOLERANCE)
    assert not parity_with(exact=math.nan).within(TOLERANCE)
    for name in ("logits", "gradients", "losses"):
        for wrong in (2 * TOLERANCE, math.nan):
            assert not parity_with(**{name: {"ours": wrong, "torch.nn": 0.0}}).within(TOLERANCE)


def test_our_error_may_be_a_multiple_of_torch_s():
    theirs = TOLERANCE
    ours = 0.9 * accuracy.MAX_ERROR_RATIO * theirs
    assert parity_with(losses={"ours": ours, "torch.nn": theirs}).within(TOLERANCE)
    assert not parity_with(losses={"ours": ours, "torch.nn": theirs / 10}).within(TOLERANCE)


class Outputs(NamedTuple):
    logits: Tensor
    aux1: Tensor


class TwoHeads(torch.nn.Module):
    """Like GoogLeNet, a tuple in training; with batch norm and dropout."""

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
        return Outputs(self.fc(x), self.aux1(x)) if self.training else self.fc(x)

    @staticmethod
    def criterion(label_smoothing, nn):
        loss = nn.CrossEntropyLoss(label_smoothing=label_smoothing)
        return lambda y, targets: loss(y.logits, targets) + loss(y.aux1, targets)


@pytest.fixture
def two_heads(monkeypatch):
    monkeypatch.setitem(models.MODELS, "two-heads", TwoHeads)


def test_a_network_with_two_heads_and_other_defaults(two_heads):
    found = parity.compare("two-heads", CONFIG, image_size=16, batch_size=4)
    assert found.shape == (4, 3, 16, 16)
    assert found.within(TOLERANCE)


def test_large_images_come_in_small_batches(two_heads, monkeypatch):
    assert parity.compare("two-heads", CONFIG).shape == (16, 3, 72, 72)
    monkeypatch.setattr(parity, "SAVED_BYTES", 1)
    assert parity.compare("two-heads", CONFIG).shape == (4, 3, 72, 72)


def test_dropout_is_disabled_if_the_masks_differ(two_heads, monkeypatch):
    def other_mask(self, x):
        return x * torch.rand_like(x).round() * 2 if self.training and self.p else x

    monkeypatch.setattr(layers.Dropout, "forward", other_mask)
    found = parity.compare("two-heads", CONFIG, image_size=16, batch_size=4)
    assert "without dropout" in found.note
    assert found.within(TOLERANCE)


def test_the_default_networks_exist():
    assert {*parity.DEFAULT_MODELS} <= {*models.MODELS}


def test_tables_and_document(two_heads):
    benchmark, lines = ModelBenchmark(CONFIG), []
    benchmark.run(["lenet", "two-heads"], lines.append, batch_size=4, image_size=32)
    assert lines[1].startswith("2/2  two-heads")
    assert not benchmark.failed
    errors, profiles = (table.text() for table in benchmark.tables())
    assert "4 x 3 x 32 x 32" in errors
    assert "two-heads" in profiles
    (first, _) = benchmark.document()["rows"]
    assert first["ours.step"] > 0
    assert [bar.name for bar in benchmark.bars()] == ["lenet", "two-heads"]
    with pytest.raises(ValueError, match="smallest that fits"):
        benchmark.run(["two-heads"], lines.append, image_size=4)
