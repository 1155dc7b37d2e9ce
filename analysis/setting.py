"""Where and how layers are compared, and the numbers they are given."""

from __future__ import annotations

import copy
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from layers.ops.precision import conv_precision

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Setting:
    device: torch.device = CPU
    dtype: torch.dtype = torch.float32
    memory_format: torch.memory_format = torch.contiguous_format  # of images and filters
    compile: bool = False
    seconds: float = 2.0  # of timing, for each comparison

    def numbers(self, shape: Sequence[int], seed: int) -> Tensor:
        """Normal numbers that this precision holds exactly; the same on every device."""
        generator = torch.Generator().manual_seed(seed)
        values = torch.randn(tuple(shape), generator=generator, dtype=torch.float64)
        return values.to(self.dtype).to(self.device)

    def leaf(self, values: Tensor, layout: torch.memory_format | None = None) -> Tensor:
        """A copy of the values that wants its gradient; an image lies as `layout` says."""
        return laid_out(values, layout or self.memory_format).detach().clone().requires_grad_()

    def place(
        self, layer: torch.nn.Module, layout: torch.memory_format | None = None
    ) -> torch.nn.Module:
        """A copy of the layer in this precision, on this device, its filters laid out."""
        layer = copy.deepcopy(layer).to(self.device, self.dtype)
        for parameter in layer.parameters():
            parameter.data = laid_out(parameter.data, layout or self.memory_format)
        return layer

    def compiled(self, layer: torch.nn.Module) -> torch.nn.Module:
        """The layer itself, or with `compile` what torch.compile makes of it."""
        if not self.compile:
            return layer
        compiled = torch.compile(layer, dynamic=False)
        assert isinstance(compiled, torch.nn.Module)
        return compiled

    def describe(self) -> dict[str, object]:
        """The machine and the setting, in plain values."""
        return {
            **machine(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
            "memory_format": str(self.memory_format).removeprefix("torch."),
            "compile": self.compile,
            "seconds": self.seconds,
        }


def laid_out(values: Tensor, layout: torch.memory_format) -> Tensor:
    """A volume (N, C, H, W) in a memory format; anything else as it is."""
    return values.contiguous(memory_format=layout) if values.dim() == 4 else values


def machine(device: torch.device) -> dict[str, object]:
    """What computes, in plain values."""
    return {
        "device": _name(device),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "float32 convolutions": conv_precision() if device.type == "cuda" else "ieee",
    }


def _name(device: torch.device) -> str:
    """The chip's name where torch or the system tells it, else its kind."""
    if device.type == "cpu":
        return _processor()
    module = torch.get_device_module(device)
    return module.get_device_name(device) if hasattr(module, "get_device_name") else str(device)


def _processor() -> str:
    """The CPU's name where the system tells it (Linux), else its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
