"""The table of `compare.py layers` is complete and its rows are valid."""

import math

import pytest
import torch

import layers
from analysis import shapes
from analysis.benchmark import build
from analysis.targets import TARGETS

ROWS = pytest.mark.parametrize("row", shapes.ROWS, ids=[row.id for row in shapes.ROWS])


def test_ids_are_unique():
    names = [row.id for row in shapes.ROWS]
    assert len(names) == len({*names})


def test_every_operator_is_in_the_table():
    twins = {name for name in layers.__all__ if name[0].isupper() and hasattr(torch.nn, name)}
    structure = {"Flatten", "Identity", "Module", "ModuleList", "Parameter", "Sequential"}
    siblings = {"LogSoftmax", "MaxUnpool2d", "SyncBatchNorm"}  # of Softmax, MaxPool2d, BatchNorm2d
    assert {row.layer for row in shapes.ROWS} == twins - structure - siblings | {
        "LocallyConnected2d"
    }


def test_every_group_has_a_target_and_every_target_its_rows():
    groups = {row.group for row in shapes.ROWS} - {""}
    assert groups == {group for _, group, *_ in TARGETS}


def test_vgg_has_thirteen_convolutions():
    assert sum(row.copies for row in shapes.ROWS if row.group == shapes.VGG) == 13
    assert len([row for row in shapes.ROWS if row.group == shapes.IM2COL]) == 9


@ROWS
def test_both_layers_accept_the_row_s_input(row):
    with torch.device("meta"):
        ours, theirs = build(row)
        sides = [layer for layer in (ours, theirs) if layer is not None]
        x = torch.empty(row.shape)
        inputs = [x] if row.layer != "CrossEntropyLoss" else [x, torch.empty(len(x)).long()]
        small = torch.empty(row.small().shape)
        assert len({tuple(layer(*inputs).shape) for layer in sides}) == 1
        if row.layer != "CrossEntropyLoss":
            assert len({tuple(layer(small).shape) for layer in sides}) == 1
    assert math.prod(row.small().shape) <= math.prod(row.shape)
    assert (len(sides) == 1) == (row.layer == "LocallyConnected2d")


def test_a_row_is_printed_as_a_call():
    row = shapes.Row(
        "a", "Conv2d", (1, 2, 3, 4), (2, 5, 3), {"padding": 1}, ours={"algorithm": "x"}
    )
    assert str(row) == "Conv2d(2, 5, 3, padding=1, algorithm=x)"


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("conv2d", "alexnet.conv1"),
        ("MaxPool2d", "alexnet.pool1.last"),
        ("batch_norm", "resnet18.bn1"),
        ("cross_entropy", "imagenet.loss"),
        ("vgg16", "vgg16.relu1"),
        ("vgg16.conv1_1", "vgg16.conv1_1"),
    ],
)
def test_rows_are_chosen_by_operator_network_or_id(name, id):
    chosen = [row.id for row in shapes.choose([name])]
    assert id in chosen
    assert len(chosen) < len(shapes.ROWS)
    assert shapes.choose([]) == shapes.ROWS


def test_unknown_names_are_refused():
    with pytest.raises(KeyError, match="convv"):
        shapes.choose(["conv2d", "convv"])
    assert {"Conv2d", "alexnet", "alexnet.conv1"} <= {*shapes.names()}


def test_an_operator_in_a_network():
    both = [row.id for row in shapes.choose(["conv2d@alexnet"])]
    of_network = [row.id for row in shapes.choose(["alexnet"])]
    assert set(both) < set(of_network)
    assert all(row.layer == "Conv2d" for row in shapes.choose(["conv2d@alexnet"]))
    assert both == [row.id for row in shapes.choose(["alexnet@conv2d"])]
    for name in ("conv2d@", "@", "conv2d@nothing"):
        with pytest.raises(KeyError, match=name):
            shapes.choose([name])
