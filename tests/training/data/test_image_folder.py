"""Image folders: their layout, files that are no images, and what becomes of those that are."""

import dataclasses
import os
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from training.data import datasets
from training.data.batches import evaluation_batches
from training.data.image_files import open_image, problem
from training.errors import UserError
from training.recipes import recipe


def options_for(folder, **changes):
    options = dataclasses.replace(recipe("lenet", "imagefolder"), data_root=folder, workers=0)
    return dataclasses.replace(options, image_size=32, **{"val_fraction": 0.2, **changes})


@pytest.fixture
def folder(tmp_path):
    """Two classes of coloured images of different sizes."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 10), ("val", 4)):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = generator.integers(0, 255, (40 + i, 50, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{i}.png")
    return tmp_path


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a single core
@pytest.mark.parametrize("workers", [0, 2])
def test_image_folder(folder, workers):
    options = options_for(folder)
    sizes = {}
    for split in ("train", "val", "test"):
        (dataset,), classes = datasets.load(options, split)
        images, targets, _ = next(iter(evaluation_batches(dataset, 100, workers=workers)))
        assert images.shape[1:] == (3, 32, 32)
        assert images.dtype == torch.uint8
        sizes[split] = len(targets)
    assert classes == ["cat", "dog"]
    assert sizes == {"train": 16, "val": 4, "test": 8}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_named(folder, workers):
    damaged = folder / "train" / "cat" / "0.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    options = options_for(folder)
    with pytest.raises(UserError, match=r"cat/0\.png cannot be read"):
        read_all(options, workers)


def read_all(options, workers):
    for part in ("train", "val"):
        (dataset,), _ = datasets.load(options, part)
        list(evaluation_batches(dataset, 4, workers=workers))


@pytest.mark.parametrize("mode", ["P", "LA", "CMYK", "1", "L"])
def test_images_of_every_mode_become_plain_colours(folder, mode):
    for i, colour in enumerate([(255, 255, 255), (0, 0, 0)]):
        suffix = "jpg" if mode == "CMYK" else "png"
        for part in ("train", "val"):
            picture = Image.new("RGB", (40, 40), colour).convert(mode)
            picture.save(folder / part / "cat" / f"extra{i}.{suffix}")
    options = options_for(folder)
    (dataset,), _ = datasets.load(options, "test")
    extra = [i for i, (path, _) in enumerate(dataset.dataset.folder.samples) if "extra" in path]
    white, black = (dataset[i][0] for i in extra)
    assert white.float().mean() > 250
    assert black.float().mean() < 5


def test_folders_of_different_classes_are_refused(folder):
    (folder / "val" / "dog").rename(folder / "val" / "wolf")
    options = options_for(folder)
    with pytest.raises(UserError, match="dog, wolf is in one of them only"):
        datasets.load(options, "train")


def test_no_image_folder(tmp_path):
    options = dataclasses.replace(recipe("lenet", "imagefolder"), data_root=tmp_path / "nothing")
    with pytest.raises(UserError, match=r"expected .*nothing/train/CLASS"):
        datasets.load(options, "train")


def test_a_test_folder_leaves_val_for_validation(folder):
    for name in ("cat", "dog"):
        (folder / "test" / name).mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(folder / "test" / name / "0.png")
    parts, _ = datasets.load(options_for(folder, val_fraction=0.001), "train", "val", "test")
    assert [len(part) for part in parts] == [20, 8, 2]
    files = [{path for path, _ in part.dataset.folder.samples} for part in parts]
    assert not files[0] & files[1] | files[1] & files[2]


def test_hidden_files_and_folders_are_no_images(folder):
    for part in ("train", "val"):
        for hidden in (".ipynb_checkpoints", "cat/.ipynb_checkpoints"):
            (folder / part / hidden).mkdir()
            Image.new("RGB", (9, 9)).save(folder / part / hidden / "0-checkpoint.png")
        (folder / part / "cat" / "._0.png").write_bytes(b"what macOS leaves on foreign disks")
    (train, test), classes = datasets.load(options_for(folder), "train", "test")
    assert classes == ["cat", "dog"]
    assert len(train.dataset) == 20
    assert len(test) == 8


def test_one_class_is_nothing_to_tell_apart(folder):
    for part in ("train", "val"):
        for file in (folder / part / "dog").iterdir():
            file.unlink()
        (folder / part / "dog").rmdir()
    with pytest.raises(UserError, match=r"one class only, cat.*expected a folder for each of two"):
        datasets.load(options_for(folder), "train")


def grey(tmp_path, values, mode, name):
    array = np.array(values).reshape(1, -1)
    Image.fromarray(array.astype({"I;16": "uint16", "I": "int32", "F": "float32"}[mode])).save(
        tmp_path / name
    )
    return np.asarray(open_image(str(tmp_path / name)))[0, :, 0].tolist()


def test_grey_levels_of_more_than_eight_bits_are_scaled(tmp_path):
    levels = [0, 257, 128 * 257, 65535]
    for mode, name in (("I;16", "a.png"), ("I;16", "c.tif"), ("I", "d.tif")):
        assert grey(tmp_path, levels, mode, name) == [0, 1, 128, 255]
    (tmp_path / "e.pgm").write_bytes(b"P5 2 1 65535\n" + struct.pack(">2H", 257, 65535))
    assert np.asarray(open_image(str(tmp_path / "e.pgm")))[0, :, 0].tolist() == [1, 255]
    assert grey(tmp_path, [0.0, 0.5, 1.0], "F", "f.tif") == [0, 128, 255]


@pytest.mark.parametrize(
    ("mode", "levels"), [("I", [0, 10**6]), ("I", [-1, 9]), ("I", [0, 255]), ("F", [0, 255])]
)
def test_grey_levels_without_a_range_are_refused(tmp_path, mode, levels):
    with pytest.raises(UserError, match=rf"its grey levels are {levels[0]} to {levels[1]}"):
        grey(tmp_path, levels, mode, "x.tif")


@pytest.mark.parametrize("orientation", range(10))
def test_photographs_are_turned_as_the_camera_was_held(tmp_path, orientation):
    """The pixels are stored such that the picture is the same however the camera was held."""
    upright = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    stored = {
        2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T,
        6: np.rot90(upright), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
    }.get(orientation, upright)  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "x.png", exif=exif)
    assert (np.asarray(open_image(str(tmp_path / "x.png")))[:, :, 0] == upright).all()


def test_broken_exif_data_harm_no_image(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "x.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert open_image(str(tmp_path / "x.jpg")).size == (4, 4)


def no_picture(kind, path):
    """Write a file that is none."""
    whole = path.with_name("whole.png")
    Image.new("RGB", (40, 40), "red").save(whole)
    png = whole.read_bytes()
    whole.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "lost link":
        path.symlink_to(path.with_name("nowhere"))
    elif kind == "bomb":
        path.write_bytes(b"P5 20000 20000 255\n")
    else:
        path.write_bytes(
            {
                "empty": b"",
                "text": b"<html>not found</html>",
                "ppm header": b"P6\nabc",
                "bmp header": b"BM" + struct.pack("<IHHIIii", 99, 0, 0, 54, 40, -5, 2**31 - 1),
                "png chunk": png[:33] + b"\0\0\0\1?!?!" + png[33:],
                "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
                "tiff": b"II*\0\x08\0\0\0\xff\xff" + bytes(range(200)),
                "gif": b"GIF89a\x01",
            }[kind]
        )


BAD = [
    "empty", "text", "ppm header", "bmp header", "png chunk", "bomb", "postscript", "tiff", "gif",
    "pipe", "lost link",
]  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_header_that_cannot_be_read_is_found_before_training(folder, kind):
    path = folder / "val" / "dog" / "x.jpg"
    no_picture(kind, path)
    with pytest.raises(UserError, match=r"dog/x\.jpg cannot be read as an image: [^\n]+; mend or"):
        datasets.load(options_for(folder), "test")
    with pytest.raises(UserError, match=r"dog/x\.jpg cannot be read as an image"):
        open_image(str(path))


def test_headers_are_looked_at_and_pixels_only_to_skip(folder):
    path = folder / "train" / "cat" / "0.png"
    path.write_bytes(path.read_bytes()[:200])
    assert problem(str(path), whole=False) is None
    assert problem(str(path), whole=True)


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_images_are_skipped_and_named(folder, workers):
    for kind in BAD:
        no_picture(kind, folder / "train" / "cat" / f"{kind}.jpg")
    damaged = folder / "train" / "cat" / "0.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    options = options_for(folder, on_bad_image="skip", workers=workers)
    with pytest.warns(UserWarning, match="12 of 31 files in .*train cannot .* and 7 more$"):
        (train, val), _ = datasets.load(options, "train", "val")
    assert len(train) + len(val) == 19
    for part in (train, val):
        for _ in evaluation_batches(part, 4):
            pass


def test_a_class_without_a_good_image_cannot_be_skipped(folder):
    for file in (folder / "val" / "dog").iterdir():
        file.write_bytes(b"")
    options = options_for(folder, on_bad_image="skip")
    with (
        pytest.warns(UserWarning, match="4 of 8"),
        pytest.raises(UserError, match="val/dog has no image that can be read"),
    ):
        datasets.load(options, "test")
