"""Bytes: at the peak, and kept for the backward pass."""

import math

import pytest
import torch

import layers
from analysis import memory

MIB = 1 << 20
CPU = torch.device("cpu")


def mib(count):
    return torch.empty(count * MIB, dtype=torch.uint8)


def test_the_peak_is_what_is_there_at_once():
    def run():
        a = mib(3)
        del a
        b, c = mib(1), mib(1)
        del b
        return c

    assert memory.peak(run, CPU) == 3 * MIB
    assert memory.peak(lambda: None, CPU) == 0


@pytest.mark.gpu
def test_the_peak_on_a_gpu():
    gpu = torch.device("cuda")
    peak = memory.peak(lambda: torch.empty(3 * MIB, dtype=torch.uint8, device=gpu), gpu)
    assert peak == 3 * MIB


class Allocator:
    """What torch.cuda and torch.xpu have and torch.mps has not; every call must name the device."""

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


def test_the_peak_on_any_accelerator(monkeypatch):
    device, synchronised = torch.device("xpu:1"), []
    allocator = Allocator(device)
    monkeypatch.setattr(torch.accelerator, "synchronize", synchronised.append)
    monkeypatch.setattr(torch, "get_device_module", lambda _: allocator)
    assert memory.peak(lambda: setattr(allocator, "largest", 130), device) == 30
    assert synchronised == [device]
    monkeypatch.setattr(torch, "get_device_module", lambda _: object())
    assert math.isnan(memory.peak(lambda: None, device))


def volume(*shape):
    return torch.randn(shape, requires_grad=True)


def test_what_layers_keep():
    x = volume(2, 4, 8, 8)
    size = memory.bytes_of([x])
    assert memory.kept(layers.Conv2d(4, 4, 3, padding=1), [x]) == (0, size)  # never the columns
    assert memory.kept(layers.ReLU(), [x]) == (size, size)  # its output
    assert memory.kept(layers.MaxPool2d(2), [x]) == (size // 16, size // 16)  # a byte a window
    assert memory.kept(torch.nn.MaxPool2d(2), [x]) == (size // 2, size // 2 + size)  # int64


def test_a_piece_of_memory_counts_once():
    class Twice(torch.nn.Module):
        def forward(self, x):
            y = x.exp()  # keeps its output
            return y * y  # keeps it twice

    x = volume(100)
    assert memory.kept(Twice(), [x]) == (400, 400)
