"""visualize.py on a run trained here, and on networks that it cannot draw."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

import models
import visualize
from analysis.pictures import projections
from analysis.pictures.sheet import Sheet
from training.arguments.command_line import parse
from training.errors import UserError
from training.fit import fit
from training.inspection.visualize import distinct


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A LeNet after five steps."""
    logdir = tmp_path_factory.mktemp("runs")
    quick = ["--epochs", "1", "--limit-steps", "5", "--logdir", str(logdir)]
    fit(parse(["--model", "lenet", *quick], ""))
    return logdir / "lenet-digits"


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["visualize.py", *map(str, arguments)])
        visualize.main()
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["filters"], ["filters-features.0.png", "filters-features.3.png"]),
        (["columns", "--image", "0", "7"], ["columns-0.png", "columns-7.png"]),
        (["columns", "--layer", "features.1", "classifier"], ["columns-0.png"]),
        (["deconvnet", "--methods", "deconvnet", "guided", "gradient", "--maps", "2", "--images",
          "20"], ["deconvnet-features.1.png", "deconvnet-features.4.png"]),
        (["occlusion", "--image", "0", "1", "--stride", "8"], ["occlusion-0-1.png"]),
    ],
)  # fmt: skip
def test_pictures_of_a_run(arguments, names, folder, command):
    kind, *options = arguments
    printed = command(kind, folder, *options)
    assert "lenet on digits" in printed
    for name in names:
        path = folder / "pictures" / name
        assert str(path) in printed
        assert np.asarray(Image.open(path)).std() > 10
    assert any((folder / "pictures").glob("events.out.tfevents.*"))


def test_maps_that_respond_to_nothing_are_left_out(command, tmp_path, monkeypatch):
    network = models.build("lenet")
    with torch.no_grad():
        network.features[0].bias[[0, 2]] = -1e3
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    drawn = []
    monkeypatch.setattr(
        projections, "draw", lambda title, words, maps: drawn.append((words, maps)) or Sheet(9, 9)
    )
    command("deconvnet", "lenet", "--weights", tmp_path / "weights.pt", "--layer", "features.1",
            "--maps", "3", "--images", "20", "--output", tmp_path / "pictures")  # fmt: skip
    ((words, maps),) = drawn
    assert [one.number for one in maps] == [1, 3, 4]
    assert words.endswith("2 of 6 maps respond to none")


def test_a_network_by_its_name_and_an_image_file(command, tmp_path):
    Image.new("RGB", (40, 30), (200, 30, 90)).save(tmp_path / "red.png")
    output = tmp_path / "pictures"
    command("columns", "resnet20", "--image", tmp_path / "red.png", "--output", output)
    assert (output / "columns-red.png").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["columns", "lenet", "--layer", "feature.0"], "unknown layer 'feature.0'"),
        (["filters", "INPUT -> FC"], "a pattern has no filters to draw"),
        (["deconvnet", "INPUT -> FC"], "a pattern has no maps to look at"),
        (["deconvnet", "lenet5", "--images", "9"], "no ReLU of ours up to c1.1"),
        (["deconvnet", "lenet", "--layer", "features.1", "--map", "6"], "features.1 has 6 maps"),
        (["deconvnet", "lenet", "--layer", "classifier.0"], "unknown layer 'classifier.0'"),
    ],
)
def test_what_cannot_be_drawn(arguments, words, command, tmp_path):
    with pytest.raises(UserError, match=words):
        command(*arguments, "--output", tmp_path / "pictures")
    assert not (tmp_path / "pictures").exists()


def test_pictures_of_files_of_the_same_name():
    assert list(distinct(["a/x.png", "b/x.png", "3"]).values()) == ["x", "x-2", "3"]
    assert list(distinct(["x.png", "x.png"]).values()) == ["x"]
