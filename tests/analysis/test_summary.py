"""The summary of a network: its sums, its table, and networks that nobody here wrote."""

import io
import json

import pytest
import torch
import torchinfo
import torchvision
from rich.console import Console

import models
from analysis.summary import document, summarize
from analysis.summary_table import show, text


def summary_of(name, batch=1, **options):
    with torch.device("meta"):
        model = models.build(name, **options)
    image = (1, 32, 32) if name.startswith("lenet") else (3, 224, 224)
    return summarize(model, (batch, *image), name=name, layers="custom")


class UNet(torch.nn.Module):
    """Two levels down, two up, with skips."""

    def __init__(self, channels=8):
        super().__init__()
        nn, c = torch.nn, channels
        self.down1, self.down2 = self.block(3, c), self.block(c, 2 * c)
        self.bottom = self.block(2 * c, 4 * c)
        self.up2 = nn.ConvTranspose2d(4 * c, 2 * c, 2, stride=2)
        self.up1 = nn.ConvTranspose2d(2 * c, c, 2, stride=2)
        self.join2, self.join1 = self.block(4 * c, 2 * c), self.block(2 * c, c)
        self.head = nn.Conv2d(c, 2, 1)

    @staticmethod
    def block(inputs, outputs):
        nn = torch.nn
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU())

    def forward(self, x):
        first = self.down1(x)
        second = self.down2(torch.nn.functional.max_pool2d(first, 2))
        x = self.up2(self.bottom(torch.nn.functional.max_pool2d(second, 2)))
        if x.shape != second.shape:  # torch.fx cannot follow that
            x = torch.nn.functional.pad(x, (0, 1, 0, 1))
        x = self.up1(self.join2(torch.cat([second, x], 1)))
        return self.head(self.join1(torch.cat([first, x], 1)))


@pytest.mark.parametrize(
    ("build", "size"),
    [
        (torchvision.models.densenet121, 64),
        (torchvision.models.mobilenet_v3_small, 64),
        (UNet, 32),
    ],
    ids=["densenet121", "mobilenet_v3_small", "unet"],
)
def test_torchinfo_agrees_on_networks_of_others(build, size):
    model, shape = build(), (2, 3, size, size)
    found = summarize(model, shape, name="yours", layers="own")
    theirs = torchinfo.summary(model, shape, verbose=0, mode="train", device="cpu")
    assert found.parameters == theirs.total_params
    assert found.total("parameters") == theirs.total_params
    assert not found.unknown
    leaves = [info for info in theirs.summary_list if info.is_leaf_layer]
    ours = [row for row in found.rows if row.call.module is not None]
    assert [row.call.op for row in ours] == [info.class_name for info in leaves]
    assert [list(row.call.shape) for row in ours] == [info.output_size for info in leaves]


def test_vgg16():
    found = summary_of("vgg16")
    assert found.total("weights") == 138_344_128
    assert found.total("parameters") == found.parameters == 138_357_544
    assert found.total("macs") == 15_470_264_320
    assert found.rows[0].weight_product == "(3*3*3)*64"
    assert sum(row.in_evaluation for row in found.rows) == len(found.rows)


def test_auxiliary_heads_are_in_training_alone():
    found = summary_of("googlenet")
    heads = [row for row in found.rows if not row.in_evaluation]
    assert {row.call.path[0] for row in heads} == {"aux1", "aux2"}
    assert found.total("parameters", found.evaluated) == 6_998_552
    assert found.parameters == 13_378_280


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("name", ["vgg16", "googlenet", "resnet18"])
def test_columns_align(name, width):
    lines = text(summary_of(name), width).splitlines()
    head = next(line for line in lines if line.startswith("layer"))
    body = lines[lines.index(head) + 2 : lines.index("", lines.index(head))]
    assert all(len(line) <= width for line in body)
    end = head.index("volume") + len("volume")  # numbers end where their column's name ends
    rows = [line for line in body if "[" in line]
    assert len(rows) > 30
    assert all(line[end - 1] == "]" and line[end : end + 1].strip() == "" for line in rows)
    assert ("offset" in head) == (width == 200)


def test_colours_on_a_terminal_alone():
    found, on_terminal = summary_of("lenet"), io.StringIO()
    show(found, Console(file=on_terminal, force_terminal=True, color_system="standard", width=120))
    assert "\x1b[" in on_terminal.getvalue()
    assert "\x1b[" not in text(found)


class Gate(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x) if x.sum() >= 0 else x


def test_what_is_unknown_is_said_and_in_no_sum():
    model = torch.nn.Sequential(Gate(), torch.nn.ReLU())
    found = summarize(model, (1, 3, 8, 8), name="gated", layers="own")
    assert found.unknown == ["0"]
    rows = json.loads(json.dumps(document(found)))["rows"]
    assert rows[0]["macs"] is rows[0]["receptive_field"] is rows[1]["receptive_field"] is None
    shown = text(found)
    assert "at least" in shown
    assert "?" in shown
    assert found.total("parameters") == 112
