"""--device takes any device that torch has here, and says what is wrong with any other."""

import dataclasses

import pytest
import torch

from training import fit
from training.device import choose_device, choose_memory_format
from training.errors import UserError

no_accelerator = pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU")


def test_the_processor_and_auto():
    assert choose_device("cpu") == torch.device("cpu")
    there = torch.accelerator.current_accelerator(check_available=True)
    assert choose_device("auto").type == (there.type if there else "cpu")


def test_auto_is_channels_last_on_a_processor_alone():
    assert choose_memory_format("auto", torch.device("cpu")) == "channels_last"
    assert choose_memory_format("auto", torch.device("cuda", 0)) == "contiguous"
    assert choose_memory_format("contiguous", torch.device("cpu")) == "contiguous"
    assert choose_memory_format("channels_last", torch.device("mps")) == "channels_last"


@pytest.mark.parametrize("name", ["xpuu", "gpu", "0", "", "cuda:x", "cuda:-1"])
def test_no_device_of_torch_s(name):
    with pytest.raises(UserError, match=rf"--device {name}: .*; this machine has cpu") as caught:
        choose_device(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["cuda:99", "mps:99", "xpu", "xla", "meta"])
def test_a_device_that_is_not_here(name):
    with pytest.raises(UserError, match=rf"--device {name} is not available here: .* has cpu"):
        choose_device(name)


@no_accelerator
def test_a_gpu_that_is_not_there(quick):
    with pytest.raises(UserError, match="this machine has cpu alone"):
        fit.fit(dataclasses.replace(quick, device="cuda"))
    assert not list(quick.logdir.iterdir())


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine with two of a kind that has no float64; returns the indices made current."""
    chosen, zeros = [], torch.zeros

    def pretend(*shape, device, dtype=None):
        if dtype == torch.float64:
            raise TypeError
        if device.index is not None and device.index > 1:
            raise RuntimeError("invalid device ordinal\nand a page of advice")
        return zeros(*shape)

    monkeypatch.setattr(torch, "zeros", pretend)
    accelerator = torch.device("xpu")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: accelerator)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(torch.accelerator, "set_device_index", chosen.append)
    return chosen


def test_one_of_two_accelerators_becomes_the_current_one(two_gpus):
    assert choose_device("auto") == torch.device("xpu")
    assert two_gpus == []
    assert choose_device("xpu:1") == torch.device("xpu:1")
    assert two_gpus == [1]
    with pytest.raises(UserError, match=r"this machine has cpu, xpu:0, xpu:1$"):
        choose_device("xpu:2")


def test_a_precision_that_the_device_lacks(two_gpus):
    with pytest.raises(UserError, match=r"--device xpu does not compute in float64, .* cpu"):
        choose_device("auto", torch.float64)
