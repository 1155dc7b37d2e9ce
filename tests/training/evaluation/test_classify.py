"""Image files of every kind, in one folder and one run: right, or a sentence each."""

import csv
import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from training import fit
from training.data import datasets
from training.data.image_files import read_image
from training.errors import UserError
from training.evaluation.answer_report import show
from training.evaluation.classify import ANSWERS, Pictures, answers, classify, image_files
from training.evaluation.classify_files import classify_files
from training.evaluation.contact_sheet import ON_THE_SHEET, THUMBNAIL, contact_sheet
from training.inspection.loaded_network import load_run
from training.recipes import recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Trained on digits for a few steps."""
    options = dataclasses.replace(
        recipe("lenet", "digits"), epochs=3, image_size=16, name="run",
        logdir=tmp_path_factory.mktemp("runs"),
    )  # fmt: skip
    fit.fit(options)
    return options.logdir / "run"


def digit(number):
    """One of scikit-learn's, as the data set shows it: uint8 (8, 8), light on dark."""
    return (load_digits().images[number] * (255 / 16)).round().astype(np.uint8)


KINDS = (
    "grey.png", "rgb.png", "rgba.png", "transparent.png", "palette.png", "transparent-palette.png",
    "grey-alpha.png", "bits.png", "cmyk.tif", "16-bit.png", "16-bit.tif", "32-bit.tif", "exif.png",
    "animated.gif", "animated.webp", "pages.tif", "deep/grey.webp",
)  # fmt: skip


def write(kind, path, pixels):
    """The same picture as a file of that kind."""
    path.parent.mkdir(exist_ok=True, parents=True)
    grey = Image.fromarray(pixels)
    more = {"save_all": True, "append_images": [Image.new("L", grey.size)] * 2}
    if kind == "rgba.png":
        grey.convert("RGBA").save(path)
    elif kind == "transparent.png":  # its hidden colours are no part of the picture
        hidden = np.random.default_rng(0).integers(0, 255, (*pixels.shape, 4), dtype=np.uint8)
        hidden[..., 3] = 0
        hidden[pixels < 255] = 0, 0, 0, 255
        hidden[..., :3][pixels < 255] = pixels[pixels < 255][:, None]
        Image.fromarray(hidden).save(path)
    elif kind == "palette.png":
        grey.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE, colors=256).save(path)
    elif kind == "transparent-palette.png":
        grey.convert("P").save(path, transparency=255)  # white, which is seen on white
    elif kind == "grey-alpha.png":
        grey.convert("LA").save(path)
    elif kind == "bits.png":
        grey.convert("1", dither=Image.Dither.NONE).save(path)
    elif kind == "cmyk.tif":
        grey.convert("CMYK").save(path)
    elif kind.startswith("16-bit"):
        Image.fromarray(pixels.astype(np.uint16) * 257).save(path)
    elif kind == "32-bit.tif":
        Image.fromarray(pixels.astype(np.float32) / 255).save(path)
    elif kind == "exif.png":  # the camera was held upside down
        exif = Image.Exif()
        exif[0x0112] = 3
        grey.rotate(180).save(path, exif=exif)
    elif kind == "animated.webp":
        grey.save(path, lossless=True, **more)
    elif kind in ("animated.gif", "pages.tif"):
        grey.save(path, **more)
    elif kind == "rgb.png":
        grey.convert("RGB").save(path)
    else:
        grey.save(path, **({"lossless": True} if path.suffix == ".webp" else {}))


@pytest.fixture
def folder(tmp_path):
    """The digit 3 as a file of every kind, and files that are none."""
    pixels = digit(3)
    for kind in KINDS:
        write(kind, tmp_path / "images" / kind, pixels)
    images = tmp_path / "images"
    (images / "empty.jpg").touch()
    whole = (images / "grey.png").read_bytes()
    (images / "truncated.png").write_bytes(whole[: len(whole) - 40])
    Image.new("L", (2, 900)).save(images / "line.png")
    (images / "notes.txt").write_text("no image by its name")
    (images / ".hidden.png").write_text("nor this")
    return images


BAD = {
    "empty.jpg": "it holds none of JPEG",
    "line.png": "2 x 900 pixels, which is no picture",
    "truncated.png": "truncated",
}


def test_every_kind_in_one_folder_and_one_run(run, folder, tmp_path):
    document, classified = classify_files([folder], checkpoint=run, output=tmp_path / "out")
    assert {image["file"] for image in document["images"]} == {str(folder / k) for k in KINDS}
    for image in document["images"]:
        if not image["file"].endswith("bits.png"):  # it has lost its greys
            assert image["answers"] == document["images"][0]["answers"], image["file"]
        assert image["answers"][0]["class"] == "3"
        probabilities = [answer["probability"] for answer in image["answers"]]
        assert len(probabilities) == ANSWERS
        assert sorted(probabilities, reverse=True) == probabilities
    skipped = {one["file"].split("/")[-1]: one["reason"] for one in document["skipped"]}
    assert skipped.keys() == BAD.keys()
    for name, words in BAD.items():
        assert words in skipped[name]
        assert "\n" not in skipped[name]
    assert json.loads(json.dumps(document)) == document
    with Path(document["csv"]).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [str(image.file) for image in classified]
    assert {row["class1"] for row in rows} == {"3"}
    assert float(rows[0]["probability5"]) == classified[0].answers[4].probability
    with Image.open(document["contact_sheet"]) as sheet:
        assert sheet.size == contact_sheet(classified).size


def test_the_network_gets_what_the_data_set_would_give_it(run, tmp_path):
    """A file of an image of the data set: the same pixels, the same logits."""
    network = load_run(run)
    (test,), _ = datasets.load(network.options, "test")
    wanted, _, _ = test[5]
    number = next(
        i
        for i in range(1797)
        if datasets.fit(torch.tensor(digit(i))[None, None], 16)[0].equal(wanted)
    )
    write("grey.png", tmp_path / "x.png", digit(number))
    pixels, _ = Pictures([tmp_path / "x.png"], network, 64, invert=False)[0]
    assert pixels.equal(wanted)
    classified, _ = classify(network, [tmp_path / "x.png"], 8, 64)
    assert classified[0].answers == answers(network.logits(wanted[None])[0], network.classes)


def test_light_and_dark_are_swapped(run, tmp_path):
    write("grey.png", tmp_path / "ink.png", 255 - digit(3))
    where = {"checkpoint": run, "output": tmp_path / "out"}
    with pytest.warns(UserWarning, match=r"light in 1 of 1 images.* light on dark: --invert"):
        classify_files([tmp_path / "ink.png"], **where)
    _, classified = classify_files([tmp_path / "ink.png"], invert=True, **where)
    assert classified[0].answers[0].name == "3"
    assert np.asarray(classified[0].thumbnail.convert("L")).tolist() == digit(3).tolist()


def test_transparency_is_seen_on_white(tmp_path):
    for mode, colour in (("RGBA", (0, 0, 0, 0)), ("LA", (0, 0)), ("RGBA", (255, 0, 0, 0))):
        Image.new(mode, (2, 2), colour).save(tmp_path / "x.png")
        assert np.asarray(read_image(str(tmp_path / "x.png"))).min() == 255
    Image.new("RGBA", (2, 2), (0, 0, 0, 51)).save(tmp_path / "x.png")
    assert np.asarray(read_image(str(tmp_path / "x.png"))).tolist() == [[[204] * 3] * 2] * 2


def test_files_are_found_in_order(folder):
    found = image_files([folder / "rgb.png", folder, folder / "notes.txt"])
    assert found[0] == folder / "rgb.png"
    assert found[-1] == folder / "notes.txt"  # named by the user: tried, whatever its name
    inside = [path.relative_to(folder).as_posix() for path in found[1:-1]]
    assert inside == sorted({*KINDS, *BAD})
    with pytest.raises(UserError, match=r"no file or folder .*absent"):
        image_files([folder / "absent"])
    (folder / "none").mkdir()
    with pytest.raises(UserError, match=r"none holds no image: expected files such as \*\.jpg"):
        image_files([folder / "none"])


def test_nothing_that_can_be_read(run, folder, tmp_path):
    with pytest.raises(UserError, match=r"empty\.jpg \(and 1 more\) cannot be read as an image"):
        classify_files(
            [folder / "empty.jpg", folder / "notes.txt"], checkpoint=run, output=tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_batches_and_workers_change_nothing(run, folder):
    network = load_run(run)
    files = image_files([folder])
    once, _ = classify(network, files, 100, 64)
    network.options = dataclasses.replace(network.options, workers=1)
    again, skipped = classify(network, files, 3, 64)
    assert [image.file for image in again] == [image.file for image in once]
    for image, other in zip(once, again, strict=True):
        assert [name for name, _ in image.answers] == [name for name, _ in other.answers]
        torch.testing.assert_close(
            *(torch.tensor([p for _, p in i.answers]).double() for i in (image, other))
        )
    assert len(skipped) == len(BAD)


def test_scores_without_a_class_have_numbers():
    found = answers(torch.tensor([0.0, 1.0, 3.0]), ["cat", "dog"])
    assert [name for name, _ in found] == ["class 2", "dog", "cat"]
    assert sum(p for _, p in found) == pytest.approx(1)


def printed(document, classified, monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    show(document, classified)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("count", [2, 17])
def test_bars_fit_the_width(run, folder, tmp_path, monkeypatch, capsys, columns, count):
    document, classified = classify_files([folder], checkpoint=run, output=tmp_path / "out")
    lines = printed(document, classified[:count], monkeypatch, capsys, columns)
    bars = [line for line in lines if line.endswith("%")]
    assert len(bars) == (count * ANSWERS if count == 2 else count)
    assert len({len(line) for line in bars}) == 1
    assert 40 < len(bars[0]) <= min(columns, 100)
    assert not any("\x1b" in line for line in lines)  # no colours where there is no terminal
    lengths = [line.count("━") for line in bars[:ANSWERS]]
    surest = classified[0].answers[0].probability
    if count == 2:
        assert lengths == sorted(lengths, reverse=True)
        whole = len(bars[0].split("%")[0]) - 2 - 1 - 2 - 2 - 6
        assert lengths[0] == pytest.approx(surest * whole, abs=1)
    assert any(re.fullmatch(r"  contact sheet  .*contact_sheet\.png", line) for line in lines)


def test_names_of_files_are_no_commands_for_a_terminal(run, tmp_path, monkeypatch, capsys):
    write("grey.png", tmp_path / "a\x1b[2Jb\n.png", digit(3))
    document, classified = classify_files(
        [tmp_path / "a\x1b[2Jb\n.png"], checkpoint=run, output=tmp_path / "out"
    )
    first = printed(document, classified, monkeypatch, capsys, 80)[0]
    assert first.endswith("a\N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}.png")


def test_a_bar_on_the_sheet_is_as_long_as_its_probability(run, folder):
    classified, _ = classify(load_run(run), [folder / "grey.png"], 8, THUMBNAIL)
    (image,) = classified
    image.answers = [
        dataclasses.replace(image).answers[0]._replace(probability=p) for p in (1, 0.5)
    ]
    pixels = np.asarray(contact_sheet([image]))
    blue = (pixels == (0x2F, 0x6F, 0x9F)).all(2).sum(1)
    assert {*blue[blue > 0]} == {blue.max(), blue.max() // 2}
    many = contact_sheet([image] * (ON_THE_SHEET + 9))
    assert many.size == contact_sheet([image] * ON_THE_SHEET).size
