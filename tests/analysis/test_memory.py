"""Peak memory, and memory saved for the backward pass."""

import math

import pytest
import torch

import layers
from analysis import memory

MIB = 1 << 20
CPU = torch.device("cpu")


def mib(count):
    return torch.empty(count * MIB, dtype=torch.uint8)


def test_peak_counts_what_is_allocated_at_the_same_time():
    def run():
        a = mib(3)
        del a
        b, c = mib(1), mib(1)
        del b
        return c

    assert memory.peak(run, CPU) == 3 * MIB
    assert memory.peak(lambda: None, CPU) == 0


@pytest.mark.gpu
def test_peak_on_a_gpu():
    gpu = torch.device("cuda")
    peak = memory.peak(lambda: torch.empty(3 * MIB, dtype=torch.uint8, device=gpu), gpu)
    assert peak == 3 * MIB


class Allocator:
    """The API of torch.cuda and torch.xpu that torch.mps lacks; each call must name the device."""

    def __init__(self, device):
        self.expected, self.bytes, self.largest = device, 100, 500

    def reset_peak_memory_stats(self, device):
        assert device == self.expected
        self.largest = self.bytes

    def memory_allocated(self, device):
        assert device == self.expected
        return self.bytes

    def max_memory_allocated(self, device):
        assert device == self.expected
        return self.largest


def test_peak_on_any_accelerator(monkeypatch):
    device, synchronised = torch.device("xpu:1"), []
    allocator = Allocator(device)
    monkeypatch.setattr(torch.accelerator, "synchronize", synchronised.append)
    monkeypatch.setattr(torch, "get_device_module", lambda _: allocator)
    assert memory.peak(lambda: setattr(allocator, "largest", 130), device) == 30
    assert synchronised == [device]
    monkeypatch.setattr(torch, "get_device_module", lambda _: object())
    assert math.isnan(memory.peak(lambda: None, device))


def image(*shape):
    return torch.randn(shape, requires_grad=True)


def test_saved_bytes_of_layers():
    x = image(2, 4, 8, 8)
    size = memory.nbytes([x])
    conv = layers.Conv2d(4, 4, 3, padding=1)
    assert memory.saved_bytes(conv, [x]) == (0, size)  # not the columns
    assert memory.saved_bytes(layers.ReLU(), [x]) == (size, size)  # the output
    switches, indices = size // 16, size // 2  # one byte, or an int64, per window
    assert memory.saved_bytes(layers.MaxPool2d(2), [x]) == (switches, switches)
    assert memory.saved_bytes(torch.nn.MaxPool2d(2), [x]) == (indices, indices + size)


def test_a_tensor_saved_twice_counts_once():
    class SquaredExp(torch.nn.Module):
        def forward(self, x):
            y = x.exp()  # saves its output
            return y * y  # saves it twice

    x = image(100)
    assert memory.saved_bytes(SquaredExp(), [x]) == (400, 400)
