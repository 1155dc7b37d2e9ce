"""What cannot fit the memory is refused, with the number."""

import dataclasses

import pytest
import torch

import models
from training import errors, fit
from training.errors import UserError
from training.memory import machine, network_size


def test_weights_that_do_not_fit(monkeypatch):
    monkeypatch.setattr(machine, "total", lambda: 10**9)
    options = {"nn": torch.nn, "num_classes": 1000, "in_channels": 3, "image_size": 224}
    words = r"the 138,357,544 weights of --model vgg16, .* 3 times .* at least 1.7 GB .* are 1.0 GB"
    with pytest.raises(UserError, match=words):
        network_size.build_if_it_fits("vgg16", 3, torch.float32, **options)


def test_a_head_for_a_million_classes(quick):
    options = dataclasses.replace(quick, model="alexnet", image_size=1000, num_classes=10**6)
    with pytest.raises(UserError, match=r"weights of --model alexnet, .* need at least .* GB"):
        fit.fit(options)


def test_the_machine_has_memory():
    assert 2**28 < machine.total() <= 2**62


def test_what_is_free_is_a_part_of_it():
    before = machine.free(torch.device("cpu"))
    assert before is None or 0 < before <= machine.total()


def test_a_device_that_does_not_say_what_is_free(monkeypatch):
    monkeypatch.setattr(torch, "get_device_module", lambda _: object())
    assert machine.free(torch.device("mps")) is None


def test_what_an_accelerator_s_allocator_keeps_is_free(monkeypatch):
    class Allocator:
        mem_get_info = staticmethod(lambda _: (100, 1000))
        memory_reserved = staticmethod(lambda _: 50)
        memory_allocated = staticmethod(lambda _: 20)

    monkeypatch.setattr(torch, "get_device_module", lambda _: Allocator)
    assert machine.free(torch.device("cuda")) == 130


def test_looking_at_the_size_draws_no_random_numbers():
    options = {"nn": torch.nn, "num_classes": 10, "in_channels": 1, "image_size": 16}
    torch.manual_seed(0)
    expected = models.build("lenet", **options).state_dict()
    torch.manual_seed(0)
    network = network_size.build_if_it_fits("lenet", 3, torch.float64, **options)
    for key, value in network.state_dict().items():
        assert torch.equal(value, expected[key].double())


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory"
        ),
    ],
)
def test_memory_that_runs_out_later_is_a_sentence(capsys, error):
    def main():
        raise error

    with pytest.raises(SystemExit) as caught:
        errors.run(main)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("error: there is not enough memory: give a smaller")


def test_other_errors_are_not_hidden():
    def main():
        raise RuntimeError("a mistake of ours")

    with pytest.raises(RuntimeError, match="a mistake of ours"):
        errors.run(main)
