"""The three parts of a data set, and what happens where it is missing."""

import dataclasses
import math
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from training.data import datasets
from training.data.batches import evaluation_batches
from training.data.preprocess import (
    EIGENVALUES,
    EIGENVECTORS,
    Preprocess,
    random_affine,
    random_crop_flip,
)
from training.errors import UserError
from training.randomness import Draws
from training.recipes import recipe

DIGITS = recipe("lenet", "digits")


def everything(options, split):
    (dataset,), _ = datasets.load(options, split)
    images, targets, _ = next(iter(evaluation_batches(dataset, 10_000)))
    return images, targets


def test_digits_parts_are_disjoint_and_complete():
    parts = {split: everything(DIGITS, split) for split in ("train", "val", "test")}
    sizes = {split: len(targets) for split, (_, targets) in parts.items()}
    assert sizes == {"train": 1293, "val": 144, "test": 360}
    images = torch.cat([images for images, _ in parts.values()]).flatten(1)
    assert len(images.unique(dim=0)) == len(images) == 1797  # none is in two parts
    assert parts["train"][0].shape[1:] == (1, 32, 32)
    assert parts["train"][0].dtype == torch.uint8


def test_validation_is_stratified_and_seeded():
    _, targets = everything(DIGITS, "val")
    counts = torch.bincount(targets)
    assert counts.min() >= 13
    assert counts.max() <= 16
    again = everything(DIGITS, "val")[1]
    other = everything(dataclasses.replace(DIGITS, seed=1), "val")[1]
    assert torch.equal(targets, again)
    assert not torch.equal(targets, other)
    test = [everything(dataclasses.replace(DIGITS, seed=seed), "test")[0] for seed in (0, 1)]
    assert torch.equal(*test)  # the test set never depends on the seed


def test_a_few_pixels_more_are_background_and_others_are_resized():
    images = torch.full((2, 1, 28, 28), 200, dtype=torch.uint8)
    padded = datasets.fit(images, 32)
    assert torch.equal(padded[:, :, 2:-2, 2:-2], images)
    assert padded[:, :, :2].sum() == 0
    assert datasets.fit(images, 64).float().mean() == 200
    assert datasets.fit(images, 14).shape == (2, 1, 14, 14)


def test_missing_data_that_cannot_be_downloaded(monkeypatch, tmp_path):
    def dataset(root, train, download=False):
        raise urllib.error.URLError("no route") if download else RuntimeError("Dataset not found")

    monkeypatch.setitem(datasets.TORCHVISION, "mnist", (dataset, "MNIST/raw"))
    options = dataclasses.replace(recipe("lenet", "mnist"), data_root=tmp_path)
    with pytest.raises(UserError, match="could not be downloaded") as caught:
        datasets.load(options, "train")
    assert str(tmp_path / "MNIST" / "raw") in str(caught.value)


def test_downloads_where_there_is_a_connection(monkeypatch, tmp_path):
    class Found:
        data = torch.zeros(40, 28, 28, dtype=torch.uint8)
        targets = torch.arange(40) % 10
        classes = tuple("0123456789")

    calls = []

    def dataset(root, train, download=False):
        calls.append(download)
        if not download:
            raise RuntimeError("Dataset not found")
        return Found()

    monkeypatch.setitem(datasets.TORCHVISION, "mnist", (dataset, "MNIST/raw"))
    options = dataclasses.replace(recipe("lenet", "mnist"), data_root=tmp_path, val_fraction=0.25)
    (dataset,), _ = datasets.load(options, "val")
    assert len(dataset) == 10
    assert calls == [False, True]


def test_damaged_files_are_called_damaged(monkeypatch, tmp_path):
    def dataset(root, train, download=False):
        raise ValueError("truncated")

    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte").write_bytes(b"")
    monkeypatch.setitem(datasets.TORCHVISION, "mnist", (dataset, "MNIST/raw"))
    options = dataclasses.replace(recipe("lenet", "mnist"), data_root=tmp_path)
    with pytest.raises(UserError, match="mnist is damaged in"):
        datasets.load(options, "train")


def test_a_download_that_failed_before_is_still_no_damage(monkeypatch, tmp_path):
    def dataset(root, train, download=False):
        (root / "MNIST" / "raw").mkdir(parents=True, exist_ok=True)  # as torchvision does
        raise RuntimeError("no connection")

    monkeypatch.setitem(datasets.TORCHVISION, "mnist", (dataset, "MNIST/raw"))
    options = dataclasses.replace(recipe("lenet", "mnist"), data_root=tmp_path)
    for _ in range(2):
        with pytest.raises(UserError, match="mnist is not in"):
            datasets.load(options, "train")


def test_channels_must_be_those_of_the_mean():
    options = dataclasses.replace(DIGITS, mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.raises(UserError, match=r"images of 1 channel\(s\), but --mean has 3"):
        datasets.load(options, "train")


@pytest.mark.parametrize(
    ("counts", "fraction", "words"),
    [
        ([100, 100], 0.001, "1 for validation and 199 .* each of the 2 .* at least 0.01$"),
        ([3, 3, 3], 0.1, "give --val-fraction at least 0.3334$"),
        ([3, 3, 3], 0.9, "give --val-fraction at most 0.6666$"),
        ([1, 19], 0.5, "class a has 1 image.* one each; add images"),
    ],
)
def test_too_few_images_to_split(counts, fraction, words):
    with pytest.raises(UserError, match="cannot be split with --val-fraction.*" + words):
        datasets.check_split(sum(counts), np.array(counts), ["a", "b", "c"], fraction)


@pytest.mark.parametrize("counts", [[2, 2], [2, 3, 4], [5, 90, 2], [10, 10]])
def test_the_fraction_that_is_advised_splits(counts):
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    images = datasets.InMemory(torch.zeros(len(targets), 1, 1, 1), targets, list("abc"))
    for fraction in (0.001, 0.999):
        options = dataclasses.replace(DIGITS, val_fraction=fraction)
        with pytest.raises(UserError) as caught:
            datasets._split(images, options, "train")
        advised = float(str(caught.value).split()[-1])
        options = dataclasses.replace(DIGITS, val_fraction=advised)
        parts = [datasets._split(images, options, part) for part in ("train", "val")]
        assert all(len(targets[part].unique()) >= 1 for part in parts)
        assert sorted(parts[0] + parts[1]) == list(range(len(targets)))


def test_images_that_do_not_fit_the_memory():
    with pytest.raises(UserError, match=r"360 images of 1000000 .* need at least .* GB"):
        datasets.load(dataclasses.replace(DIGITS, image_size=10**6), "test")


def test_unknown_data():
    with pytest.raises(UserError, match="did you mean digits"):
        datasets.load(dataclasses.replace(DIGITS, data="digit"), "train")


def test_preprocess_scales_and_augments_in_training_only():
    options = dataclasses.replace(DIGITS, mean=(0.5,), std=(0.25,), augment="affine")
    preprocess = Preprocess(options)
    images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    expected = (images.float() / 255 - 0.5) / 0.25
    assert_close(preprocess.eval()(images), expected)
    draws = Draws(3, seed=0, epoch=1)
    assert_close(preprocess(images, draws), expected)
    assert not torch.allclose(preprocess.train()(images, draws), expected)
    double = Preprocess(dataclasses.replace(options, dtype="float64"))
    assert double.eval()(images).dtype == torch.float64


def test_lighting_adds_a_mixture_of_the_principal_components():
    """The same to every pixel; by a tenth of each eigenvalue, times a normal number."""
    options = dataclasses.replace(
        recipe("lenet", "cifar10"), mean=(0.0,) * 3, std=(1.0,) * 3, image_size=8, dtype="float64",
        augment="crop-flip-lighting",
    )  # fmt: skip
    options.check()
    images = torch.full((2, 3, 8, 8), 51, dtype=torch.uint8)
    draws = Draws(2, seed=0, epoch=1)
    draws.uniform[:] = 0.5  # no shift
    shifts = Preprocess(options).train()(images, draws) - 0.2
    amounts = 0.1 * draws.normal.double() * torch.tensor(EIGENVALUES, dtype=torch.float64)
    expected = amounts @ torch.tensor(EIGENVECTORS, dtype=torch.float64)
    assert_close(shifts, expected[:, :, None, None].expand_as(shifts))
    with pytest.raises(UserError, match="needs images of three channels; give crop-flip"):
        dataclasses.replace(options, mean=(0.0,), std=(1.0,)).check()


def test_affine_of_nothing_is_nothing_and_each_image_moves_on_its_own():
    x, uniform = torch.rand(2, 1, 9, 9), torch.rand(2, 5)
    assert_close(random_affine(x, uniform, degrees=0, scale=0, shear=0, shift=0), x)
    same = torch.rand(1, 1, 9, 9).expand(2, 1, 9, 9)
    moved = random_affine(same, uniform)
    assert not torch.allclose(moved[0], moved[1])


def test_affine_rotates_by_the_angle_asked():
    """A quarter turn, drawn as such, moves a dot on the right to the bottom or the top."""
    x = torch.zeros(64, 1, 9, 9)
    x[:, :, 4, 7] = 1
    uniform = torch.rand(64, 5)
    moved = random_affine(x, uniform, degrees=90, scale=0, shear=0, shift=0)
    weight = moved.flatten(1).sum(1)
    rows = (moved.sum((1, 3)) * torch.arange(9.0)).sum(1) / weight - 4
    angles = (2 * uniform[:, 0] - 1) * math.pi / 2
    assert_close(rows, -3 * torch.sin(angles), atol=0.2, rtol=0)


def test_crop_flip_shifts_by_at_most_an_eighth_and_mirrors_half():
    x = torch.zeros(400, 2, 16, 16)
    x[:, :, 8, 2] = 1
    moved = random_crop_flip(x, torch.rand(400, 3))
    rows, columns = moved[:, 0].flatten(1).argmax(1) // 16, moved[:, 0].flatten(1).argmax(1) % 16
    assert set(rows.tolist()) == set(range(6, 11))
    left = columns < 8
    assert set(columns[left].tolist()) <= set(range(5))
    assert set(columns[~left].tolist()) <= set(range(11, 16))
    assert 150 < left.sum() < 250
    assert torch.equal(moved[:, 0], moved[:, 1])


def test_catalog_figures_are_the_data_s():
    images = everything(DIGITS, "train")[0].float() / 255
    eight = datasets._digits(8, training=True).images.float() / 255
    assert eight.mean().item() == pytest.approx(DIGITS.mean[0], abs=0.01)
    assert eight.std().item() == pytest.approx(DIGITS.std[0], abs=0.01)
    assert images.mean().item() == pytest.approx(eight.mean().item(), abs=0.02)
    assert Path("data") == DIGITS.data_root
