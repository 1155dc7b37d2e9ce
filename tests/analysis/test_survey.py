"""compare.py layers: small rows through the whole of it."""

import csv
import json

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import layers
from analysis import benchmark, report, shapes, survey, timing
from analysis.setting import Setting
from analysis.shapes import Growth, Row

SMALL = [
    Row("net.conv", "Conv2d", (2, 3, 8, 8), (3, 4, 3), {}, shapes.IM2COL, {"algorithm": "im2col"},
        peers=("unfold",)),
    Row("net.vgg", "Conv2d", (2, 3, 8, 8), (3, 4, 3), {"padding": 1}, shapes.VGG, copies=3),
    Row("net.fc", "Linear", (2, 6), (6, 4)),
    Row("net.pool", "MaxPool2d", (2, 3, 8, 8), (2,), {}, shapes.POOL, layout="NCHW"),
    Row("net.bn", "BatchNorm2d", (2, 3, 8, 8), (3,), {}, shapes.BATCH_NORM),
    Row("net.drop", "Dropout", (2, 6), (0.5,)),
    Row("net.loss", "CrossEntropyLoss", (4, 6)),
    Row("net.local", "LocallyConnected2d", (2, 3, 6, 6), (3, 4, 6, 3), {}, shapes.LOCAL,
        peers=("snippet",)),
]  # fmt: skip
GROWTHS = [Growth("in a test", SMALL[0], SMALL[0]._replace(shape=(4, 3, 8, 8)), 2)]


@pytest.fixture
def surveyed(monkeypatch):
    monkeypatch.setattr(timing, "BLOCK", 0)

    def survey_(rows=SMALL, **setting):
        monkeypatch.setattr(survey, "ROWS", rows)
        monkeypatch.setattr(survey, "GROWTHS", GROWTHS)
        found, said = survey.Survey(Setting(seconds=0, **setting)), []
        found.run(rows, said.append)
        return found, said

    return survey_


def test_the_whole_table(surveyed, tmp_path):
    found, said = surveyed()
    assert len(said) == len(SMALL) + len(GROWTHS)
    assert not found.failed
    text = "\n".join(table.text() for table in found.tables())
    for row in SMALL:
        assert row.id in text
    assert "conv2d im2col / textbook unfold" in text
    assert {line.what for line in found.targets} >= {
        "conv2d im2col / torch.nn",
        "conv2d auto, largest relative error",
        "locally_connected2d / the snippet",
        "max_pool2d kept / int64 indices",
        "conv2d in a test",
    }
    kept = next(line for line in found.targets if line.what == "max_pool2d kept / int64 indices")
    assert kept.met
    assert kept.measured == pytest.approx(1 / 8)

    chart = report.bars(found.bars(), "ratios")
    paths = report.save(tmp_path / "new", "layers", found.document(), found.tables(), chart)
    written = json.loads(paths[0].read_text())
    assert written["setting"]["dtype"] == "float32"
    assert [row["id"] for row in written["rows"]] == [row.id for row in SMALL]
    lines = list(csv.DictReader(paths[1].read_text().splitlines()))
    assert float(lines[0]["ours.error.weight"]) < 1e-5
    assert float(lines[0]["torch.nn.forward+backward.middle"]) > 0
    assert paths[2].read_bytes().startswith(b"\x89PNG")
    events = EventAccumulator(str(tmp_path / "new")).Reload()
    assert "layers/chart" in events.Tags()["images"]
    assert "layers/text_summary" in events.Tags()["tensors"]


@pytest.mark.parametrize(
    "setting",
    [
        {"dtype": torch.float64},
        {"dtype": torch.bfloat16},
        {"memory_format": torch.channels_last},
    ],
    ids=str,
)
def test_other_settings(surveyed, setting):
    found, _ = surveyed(**setting)
    assert not found.failed


def test_torch_s_better_layout_counts(surveyed, monkeypatch):
    def slow(sides, seconds):
        return {
            name: benchmark.Times([2.0], [9.0 if name == benchmark.THEIRS else 4.0])
            for name in sides
        }

    monkeypatch.setattr(benchmark, "interleave", slow)
    found, _ = surveyed([SMALL[0], SMALL[3]])
    conv, pool = found.found
    assert conv.ratio().middle == 1  # channels_last's 4, not 9
    assert pool.ratio().middle == 4 / 9  # both sides have the layout of the row
    assert set(conv.times) == {"ours", "torch.nn", "unfold"}


@pytest.mark.parametrize("wrong", ["output", "second"])
def test_a_wrong_layer_fails(surveyed, monkeypatch, wrong):
    def forward(self, x):
        y = torch.nn.functional.linear(x, self.weight, self.bias)
        if wrong == "output":
            return 1.001 * y
        return y + (x - x.detach()).square().sum()  # 0, and so is its slope, but it bends

    monkeypatch.setattr(layers.Linear, "forward", forward)
    found, _ = surveyed([SMALL[2]])
    assert found.failed == ["net.fc"]
    assert "1e-03" in found.tables()[0].text() or wrong == "second"


def test_nan_is_never_within():
    one = benchmark.Measured(SMALL[2], errors={"ours": {"output": float("nan")}})
    assert not one.within(1.0)


def test_our_layer_gets_the_options_only_it_has(monkeypatch):
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
