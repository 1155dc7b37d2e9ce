"""Bytes: at the peak, and kept for the backward pass."""

import pytest
import torch

import layers
from analysis import memory

MIB = 1 << 20


def mib(count):
    return torch.empty(count * MIB, dtype=torch.uint8)


def test_the_peak_is_what_is_there_at_once():
    def run():
        a = mib(3)
        del a
        b, c = mib(1), mib(1)
        del b
        return c

    assert memory.peak(run, "cpu") == 3 * MIB
    assert memory.peak(lambda: None, "cpu") == 0


@pytest.mark.gpu
def test_the_peak_on_a_gpu():
    peak = memory.peak(lambda: torch.empty(3 * MIB, dtype=torch.uint8, device="cuda"), "cuda")
    assert peak == 3 * MIB


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
