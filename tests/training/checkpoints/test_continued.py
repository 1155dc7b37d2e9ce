"""Checkpoints that are whole, but not of this run, this data or this network."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from training import fit
from training.checkpoints import checkpoint
from training.checkpoints.run_folder import NEEDED
from training.errors import UserError
from training.evaluation.evaluate_checkpoint import evaluate_checkpoint, report
from training.options import load_yaml
from training.recipes import recipe


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of one epoch on an image folder."""
    root = tmp_path_factory.mktemp("trained")
    generator = np.random.default_rng(0)
    for part, count in (("train", 10), ("val", 4)):
        for name in ("cat", "dog"):
            (root / "images" / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = generator.integers(0, 255, (20, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / "images" / part / name / f"{i}.png")
    options = dataclasses.replace(
        recipe("lenet", "imagefolder"), data_root=root / "images", image_size=16, workers=0,
        val_fraction=0.2, epochs=1, name="run", logdir=root,
    )  # fmt: skip
    fit.fit(options)
    return root


@pytest.fixture
def copy(trained, tmp_path):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


def resumed(copy, **changes):
    options = load_yaml(copy / "run" / "config.yaml")
    changes = {"resume": copy / "run", "data_root": copy / "images", "epochs": 2, **changes}
    return dataclasses.replace(options, **changes)


def contents(folder):
    return {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def refuse(copy, words):
    """The sentence, and that the run is as it was."""
    before = contents(copy / "run")
    with pytest.raises(UserError, match=words):
        fit.fit(resumed(copy))
    assert contents(copy / "run") == before


def changed(copy, change):
    """Change the state in both checkpoints, as if it had been written so."""
    for name in ("last.pt", "best.pt"):
        options, state = checkpoint.load(copy / "run" / name)
        change(state)
        del state["format"], state["options"]
        checkpoint.save(copy / "run" / name, options, **state)


def test_images_that_moved_are_the_same(copy):
    (copy / "images").rename(copy / "elsewhere")
    fit.fit(resumed(copy, data_root=copy / "elsewhere"))


def test_a_renamed_class(copy):
    for part in ("train", "val"):
        (copy / "images" / part / "cat").rename(copy / "images" / part / "tiger")
    refuse(
        copy, r"images is not as it was when .*run was trained on it: class cat is gone, class t"
    )


def test_a_new_class(copy):
    for part in ("train", "val"):
        shutil.copytree(copy / "images" / part / "cat", copy / "images" / part / "bird")
    refuse(copy, "trained on it: class bird is new; undo that, or start a new run")


def test_images_that_were_added(copy):
    cat = copy / "images" / "train" / "cat"
    for name in "abc":
        shutil.copy(cat / "0.png", cat / f"{name}.png")
    refuse(copy, "trained on it: class cat had 10 images and has 13")


def test_images_that_were_renamed(copy):
    dog = copy / "images" / "train" / "dog"
    (dog / "3.png").rename(dog / "x.png")
    refuse(copy, "trained on it: files of class dog have other names")


def test_a_checkpoint_of_before_digests_is_continued(copy):
    changed(copy, lambda state: state.pop("images"))
    fit.fit(resumed(copy))


@pytest.mark.parametrize("key", NEEDED)
def test_a_missing_part(copy, key):
    changed(copy, lambda state: state.pop(key))
    refuse(copy, rf"last\.pt lacks '{key}'")
    if key in ("model", "classes", "step"):
        with pytest.raises(UserError, match=f"lacks '{key}'"):
            evaluate_checkpoint(copy / "run", data_root=copy / "images")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda model: model.pop(next(iter(model))), "they lack"),
        (lambda model: model.update(new=next(iter(model.values()))), "they have new, which it"),
        (
            lambda model: model.update({next(iter(model)): next(iter(model.values()))[:1]}),
            "in these weights, but",
        ),
    ],
)
def test_weights_of_another_network(copy, change, words):
    changed(copy, lambda state: change(state["model"]))
    refuse(copy, f"run does not fit: .*{words}")
    with pytest.raises(UserError, match=rf"best\.pt does not fit: .*{words}"):
        evaluate_checkpoint(copy / "run", data_root=copy / "images")


def test_an_optimizer_of_another_version(copy):
    changed(copy, lambda state: state["optimizer"]["param_groups"].pop())
    refuse(copy, "run cannot be continued .*another version")


def test_a_run_that_cannot_be_written_to_is_evaluated(copy):
    """The results are what was asked for; the picture is not."""
    (copy / "run" / "confusion_test.png").unlink(missing_ok=True)
    (copy / "run" / "confusion_test.png").mkdir()  # in the way
    with pytest.warns(UserWarning, match=r"confusion_test\.png and .* are not written \("):
        results = evaluate_checkpoint(copy / "run", data_root=copy / "images")
    assert results["images"] == 8
    assert results["confusion_png"] is None
    assert "not written" in report(results)


def test_a_checkpoint_that_may_not_be_read(copy):
    """Which is neither absent nor damaged; here, because it is a folder."""
    (copy / "run" / "best.pt").unlink()
    (copy / "run" / "best.pt").mkdir()
    with pytest.raises(UserError, match=r"best\.pt cannot be read: Is a directory"):
        evaluate_checkpoint(copy / "run")
    with pytest.raises(UserError, match=r"best\.pt cannot be read: Is a directory"):
        fit.fit(resumed(copy, resume=None, name="", weights=str(copy / "run")))
    with pytest.raises(UserError, match="cannot be read: File name too long"):
        evaluate_checkpoint(copy / ("x" * 300))


def test_another_number_of_threads_is_told(copy, capsys):
    environment = json.loads((copy / "run" / "environment.json").read_text())
    environment["threads"] = 99
    (copy / "run" / "environment.json").write_text(json.dumps(environment))
    fit.fit(resumed(copy))
    assert "threads instead of 99: sums are rounded in another order" in capsys.readouterr().out
    fit.fit(resumed(copy, epochs=3))
    assert "threads instead of" not in capsys.readouterr().out
