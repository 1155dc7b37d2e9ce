"""Device, dtype and memory format of a comparison, and the random inputs it uses."""

from __future__ import annotations

import copy
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from layers.interop.precision import conv_precision

CPU = torch.device("cpu")


@dataclass(frozen=True)
class BenchmarkConfig:
    device: torch.device = CPU
    dtype: torch.dtype = torch.float32
    memory_format: torch.memory_format = torch.contiguous_format  # of images and filters
    compile: bool = False
    seconds: float = 2.0  # of timing, for each comparison
    reference: bool = False  # whether to measure ours by the definitions in layers/ops/ alone, too

    def randn(self, shape: Sequence[int], seed: int) -> Tensor:
        """Normal random numbers, exactly representable in `dtype`; the same on every device."""
        generator = torch.Generator().manual_seed(seed)
        values = torch.randn(tuple(shape), generator=generator, dtype=torch.float64)
        return values.to(self.dtype).to(self.device)

    def leaf(self, values: Tensor, memory_format: torch.memory_format | None = None) -> Tensor:
        """A copy that requires a gradient, in the given memory format or the configured one."""
        values = to_memory_format(values, memory_format or self.memory_format)
        return values.detach().clone().requires_grad_()

    def prepare(
        self, layer: torch.nn.Module, memory_format: torch.memory_format | None = None
    ) -> torch.nn.Module:
        """A copy of the layer with the configured device, dtype and memory format."""
        layer = copy.deepcopy(layer).to(self.device, self.dtype)
        for parameter in layer.parameters():
            parameter.data = to_memory_format(parameter.data, memory_format or self.memory_format)
        return layer

    def maybe_compile(self, layer: torch.nn.Module) -> torch.nn.Module:
        """`torch.compile(layer)` if `compile` is set, else the layer itself."""
        if not self.compile:
            return layer
        compiled = torch.compile(layer, dynamic=False)
        assert isinstance(compiled, torch.nn.Module)
        return compiled

    def describe(self) -> dict[str, object]:
        """The machine and this configuration, as plain values."""
        return {
            **machine(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
            "memory_format": str(self.memory_format).removeprefix("torch."),
            "compile": self.compile,
            "seconds": self.seconds,
        }


def to_memory_format(values: Tensor, memory_format: torch.memory_format) -> Tensor:
    """A 4-D tensor in the memory format; any other tensor unchanged."""
    return values.contiguous(memory_format=memory_format) if values.dim() == 4 else values


def machine(device: torch.device) -> dict[str, object]:
    """Hardware, thread count, torch version and convolution precision, as plain values."""
    return {
        "device": _device_name(device),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "float32 convolutions": conv_precision() if device.type == "cuda" else "ieee",
    }


def _device_name(device: torch.device) -> str:
    """The model name if torch or the operating system reports one, else the device itself."""
    if device.type == "cpu":
        return _cpu_name()
    module = torch.get_device_module(device)
    return module.get_device_name(device) if hasattr(module, "get_device_name") else str(device)


def _cpu_name() -> str:
    """The CPU's model name on Linux, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
