"""Weights that other programs left: read without running anything, by the key they lie under."""

import argparse
from pathlib import PosixPath

import pytest
import torch
from torch.nn.parallel import DataParallel
from torch.optim.swa_utils import AveragedModel

import models
from models import pretrained
from models.weight_file import read

PIXELS = {"image_size": 16}
ARGS = argparse.Namespace(model="lenet", lr=0.5, workers=8, out=None, crop=[16, 16])


@pytest.fixture
def plain():
    return models.build("lenet", **PIXELS).state_dict()


@pytest.fixture
def average():
    torch.manual_seed(1)
    return models.build("lenet", **PIXELS).state_dict()


def wrapped(state, prefix):
    return {f"{prefix}{key}": value for key, value in state.items()}


def loaded(content, path):
    torch.save(content, path)
    network = models.build("lenet", **PIXELS)
    return pretrained.load(network, "lenet", path), network.state_dict()


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.",
                                    "_orig_mod.module."])  # fmt: skip
@pytest.mark.parametrize("key", [None, "model", "state_dict"])
def test_prefixes_of_wrappers_are_taken_off(plain, prefix, key, tmp_path):
    state = wrapped(plain, prefix)
    path = tmp_path / "weights.pth"
    told, found = loaded(state if key is None else {key: state, "epoch": 3}, path)
    assert equal(found, plain)
    assert told == (f"from {path}" if key is None else f"from {key} in {path}")


def test_the_wrappers_themselves(plain, tmp_path):
    network = models.build("lenet", **PIXELS)
    network.load_state_dict(plain)
    compiled = torch.compile(network)
    for wrapper in (DataParallel(network), AveragedModel(network), compiled,
                    DataParallel(compiled), AveragedModel(compiled)):  # fmt: skip
        assert equal(loaded(wrapper.state_dict(), tmp_path / "weights.pth")[1], plain)


def test_a_checkpoint_of_torchvision_s_references(plain, average, tmp_path):
    """references/classification/train.py writes these keys."""
    content = {
        "model": plain, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
        "lr_scheduler": {"last_epoch": 3}, "epoch": 3, "args": ARGS,
        "model_ema": {"n_averaged": torch.tensor(9), **wrapped(average, "module.")},
    }  # fmt: skip
    path = tmp_path / "model_3.pth"
    told, found = loaded(content, path)
    assert equal(found, plain)
    assert told == f"from model in {path}"
    del content["model"]
    told, found = loaded(content, path)
    assert equal(found, average)
    assert told == f"from model_ema in {path}"


@pytest.mark.parametrize("ema", ["state_dict_ema", "ema"])
def test_a_checkpoint_of_timm_s(plain, average, ema, tmp_path):
    content = {"epoch": 3, "arch": "lenet", "state_dict": plain, "args": ARGS, ema: average}
    path = tmp_path / "checkpoint.pth.tar"
    told, found = loaded(content, path)
    assert equal(found, plain)
    assert told == f"from state_dict in {path}"
    del content["state_dict"]
    told, found = loaded(content, path)
    assert equal(found, average)
    assert told == f"from {ema} in {path}"


def test_a_namespace_holds_values_and_runs_nothing(plain, tmp_path):
    """What lies in it is read under the same rules as the rest of the file."""
    path = tmp_path / "weights.pth"
    for args in (argparse.Namespace(out=PosixPath("/tmp")), argparse.Namespace(call=print)):
        torch.save({"model": plain, "args": args}, path)
        with pytest.raises(ValueError, match=r"holds a .*, and more than tensors"):
            read(path)
    assert argparse.Namespace not in torch.serialization.get_safe_globals()  # only while reading


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"net": {}, "acc": 91.2, "epoch": 9}, "its keys are net, acc, epoch$"),
        ({}, "its keys are none$"),
        ({"model": {1: torch.ones(1)}}, "holds no weights"),
        ({"model": torch.ones(1)}, "these are not the weights of lenet"),
        ({1: torch.ones(1)}, "its keys are 1$"),
        ([1, 2], "holds no weights"),
    ],
)
def test_what_holds_no_weights_is_told_by_its_keys(content, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        loaded(content, tmp_path / "weights.pth")
