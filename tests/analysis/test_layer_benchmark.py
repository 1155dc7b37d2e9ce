"""compare.py layers on a table of small rows."""

import csv
import json

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import layers
from analysis import benchmark, layer_benchmark, report, shapes, timing
from analysis.benchmark_config import BenchmarkConfig
from analysis.reference import ReferenceLayer
from analysis.shapes import Growth, Row
from layers.ops.registry import record

SMALL = [
    Row("net.conv", "Conv2d", (2, 3, 8, 8), (3, 4, 3), {}, shapes.IM2COL, {"algorithm": "im2col"},
        baselines=("unfold",)),
    Row("net.vgg", "Conv2d", (2, 3, 8, 8), (3, 4, 3), {"padding": 1}, shapes.VGG, copies=3),
    Row("net.fc", "Linear", (2, 6), (6, 4)),
    Row("net.pool", "MaxPool2d", (2, 3, 8, 8), (2,), {}, shapes.POOL, layout="NCHW"),
    Row("net.bn", "BatchNorm2d", (2, 3, 8, 8), (3,), {}, shapes.BATCH_NORM),
    Row("net.drop", "Dropout", (2, 6), (0.5,)),
    Row("net.loss", "CrossEntropyLoss", (4, 6)),
    Row("net.local", "LocallyConnected2d", (2, 3, 6, 6), (3, 4, 6, 3), {}, shapes.LOCAL,
        baselines=("snippet",)),
]  # fmt: skip
GROWTHS = [Growth("in a test", SMALL[0], SMALL[0]._replace(shape=(4, 3, 8, 8)), 2)]


@pytest.fixture
def run_benchmark(monkeypatch):
    monkeypatch.setattr(timing, "MIN_SECONDS", 0)

    def run(rows=SMALL, **config):
        monkeypatch.setattr(layer_benchmark, "ROWS", rows)
        monkeypatch.setattr(layer_benchmark, "GROWTHS", GROWTHS)
        benchmark = layer_benchmark.LayerBenchmark(BenchmarkConfig(seconds=0, **config))
        lines = []
        benchmark.run(rows, lines.append)
        return benchmark, lines

    return run


def test_the_whole_table(run_benchmark, tmp_path):
    results, lines = run_benchmark()
    assert len(lines) == len(SMALL) + len(GROWTHS)
    assert not results.failed
    text = "\n".join(table.text() for table in results.tables())
    for row in SMALL:
        assert row.id in text
    assert "conv2d im2col / textbook unfold" in text
    assert {line.what for line in results.targets} >= {
        "conv2d im2col / torch.nn",
        "conv2d auto, largest relative error",
        "locally_connected2d / the snippet",
        "max_pool2d kept / int64 indices",
        "conv2d in a test",
    }
    (saved,) = (line for line in results.targets if line.what == "max_pool2d kept / int64 indices")
    assert saved.met
    assert saved.measured == pytest.approx(1 / 8)

    chart = report.bar_chart(results.bars(), "ratios")
    paths = report.save(tmp_path / "new", "layers", results.document(), results.tables(), chart)
    written = json.loads(paths[0].read_text())
    assert written["setting"]["dtype"] == "float32"
    assert [row["id"] for row in written["rows"]] == [row.id for row in SMALL]
    rows = list(csv.DictReader(paths[1].read_text().splitlines()))
    assert float(rows[0]["ours.error.weight"]) < 1e-5
    assert float(rows[0]["torch.nn.forward+backward.middle"]) > 0
    assert paths[2].read_bytes().startswith(b"\x89PNG")
    events = EventAccumulator(str(tmp_path / "new")).Reload()
    assert "layers/chart" in events.Tags()["images"]
    assert "layers/text_summary" in events.Tags()["tensors"]


@pytest.mark.parametrize(
    "config",
    [
        {"dtype": torch.float64},
        {"dtype": torch.bfloat16},
        {"memory_format": torch.channels_last},
    ],
    ids=str,
)
def test_other_dtypes_and_memory_formats(run_benchmark, config):
    results, _ = run_benchmark(**config)
    assert not results.failed


def test_the_reference_is_measured_beside_the_others(run_benchmark):
    results, _ = run_benchmark(reference=True)
    conv, *_, local = results.measurements
    assert set(conv.reference) == {"reference", "ours", "torch.nn"}
    assert set(local.reference) == {"reference", "ours"}
    assert set(conv.times) == {"ours", "torch.nn", "unfold"}  # as without it
    assert 0 < conv.errors["reference"]["weight"] < 1e-5
    (table,) = (t for t in results.tables() if t.title.startswith("What readability would cost"))
    assert [row[0] for row in table.rows] == [row.id for row in SMALL]
    flat = results.document()["rows"][0]
    assert flat["reference.over.torch.nn.middle"] > 0
    assert flat["reference.error.output"] < 1e-5
    without, _ = run_benchmark([SMALL[0]])
    assert not any("readability" in table.title for table in without.tables())


def test_a_reference_layer_is_computed_by_definitions():
    layer, x = layers.MaxPool2d(2), torch.randn(2, 3, 8, 8, requires_grad=True)
    for kind, by_kernels in ((ReferenceLayer, False), (timing.TimedLayer, True)):
        with record() as calls:
            kind(layer, [x]).run()
        assert {call.operator for call in calls} == {"max_pool2d", "max_pool2d_backward"}
        assert any(call.kernel for call in calls) == by_kernels


def test_the_better_memory_format_of_torch_counts(run_benchmark, monkeypatch):
    def fake_times(sides, seconds):
        return {
            name: benchmark.Times([2.0], [9.0 if name == benchmark.THEIRS else 4.0])
            for name in sides
        }

    monkeypatch.setattr(benchmark, "interleave", fake_times)
    results, _ = run_benchmark([SMALL[0], SMALL[3]])
    conv, pool = results.measurements
    assert conv.ratio().middle == 1  # channels_last's 4, not 9
    assert pool.ratio().middle == 4 / 9  # both sides in the memory format of the row
    assert set(conv.times) == {"ours", "torch.nn", "unfold"}


@pytest.mark.parametrize("wrong", ["output", "second"])
def test_a_wrong_layer_fails(run_benchmark, monkeypatch, wrong):
    def forward(self, x):
        y = torch.nn.functional.linear(x, self.weight, self.bias)
        if wrong == "output":
            return 1.001 * y
        return y + (x - x.detach()).square().sum()  # zero, but not its second derivative

    monkeypatch.setattr(layers.Linear, "forward", forward)
    results, _ = run_benchmark([SMALL[2]])
    assert results.failed == ["net.fc"]
    assert "1e-03" in results.tables()[0].text() or wrong == "second"


def test_nan_is_never_within_the_tolerance():
    measurement = benchmark.Measurement(SMALL[2], errors={"ours": {"output": float("nan")}})
    assert not measurement.within(1.0)


def test_our_layer_gets_its_own_options(monkeypatch):
    class Conv2d(layers.Conv2d):
        def __init__(self, *arguments, algorithm="auto", **options):
            super().__init__(*arguments, **options)
            self.algorithm = algorithm

    monkeypatch.setattr(benchmark.layers, "Conv2d", Conv2d)
    ours, theirs = benchmark.build(SMALL[0])
    assert ours.algorithm == "im2col"
    assert type(theirs) is torch.nn.Conv2d
    assert torch.equal(ours.weight, theirs.weight)


def test_tables_align_words_left_and_numbers_right():
    table = report.Table("title", ["", "n"], [["a", "1"], ["long", "100"]])
    assert table.text() == "title\n        n\na       1\nlong  100\n"
    assert "| a | 1 |" in table.markdown()
