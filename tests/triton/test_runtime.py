"""Where Triton or a GPU is missing, its kernels refuse, and say why."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from layers.kernels.triton import runtime

ROOT = Path(__file__).parents[2]


def test_a_cpu_s_tensors_are_refused():
    assert runtime.why_not_triton(torch.ones(2)) == "it is for a GPU"


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (torch.ones(2), None),
        (torch.ones(2, dtype=torch.float16), None),
        (torch.ones(2, dtype=torch.float64), "not torch.float64"),
        (torch.ones(2, dtype=torch.int64), "floating-point numbers, not torch.int64"),
        (torch.empty(2, 1 << 30, 2, device="meta"), "32 bits"),
    ],
)
def test_which_tensors_are_taken(tensor, reason, monkeypatch):
    monkeypatch.setattr(runtime, "is_gpu", lambda tensor: True)
    monkeypatch.setattr(runtime, "unavailable", lambda device: None)
    answer = runtime.why_not_triton(tensor)
    assert answer is None if reason is None else reason in answer


def test_an_old_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(runtime, "triton", object())
    reason = "it needs a GPU of compute capability 8.0, this one has 7.5"
    assert runtime.unavailable.__wrapped__(0) == reason


def test_without_triton_the_layers_work():
    """In a process that finds none."""
    program = """
import sys
sys.modules["triton"] = None
import torch, layers
from layers.kernels.triton import runtime
assert runtime.triton is None
assert runtime.unavailable(0) == "Triton is not installed: pip install triton"
layers.functional.max_pool2d(torch.randn(1, 1, 4, 4), 2)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
