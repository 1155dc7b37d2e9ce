"""A training step of a network: its derivatives, its time and its memory."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

import models

from . import memory
from .benchmark_config import BenchmarkConfig, to_memory_format
from .timing import timer

MEMORY_FORMATS = torch.contiguous_format, torch.channels_last


class Batch:
    """Random images and targets, on the configured device, in its dtype and memory format."""

    def __init__(self, config: BenchmarkConfig, shape: tuple[int, ...], num_classes: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.config, self.shape, self.num_classes = config, shape, num_classes
        self.half = config.dtype if config.dtype.itemsize < 4 else None
        self.dtype = torch.float32 if self.half else config.dtype
        images = torch.randn(shape, generator=generator).to(config.device, self.dtype)
        self.x = to_memory_format(images, config.memory_format)
        targets = torch.randint(num_classes, shape[:1], generator=generator)
        self.targets = targets.to(config.device)

    def replaced(self, **changes: Any) -> Batch:
        """The same images and targets with another configuration."""
        return Batch(replace(self.config, **changes), self.shape, self.num_classes)

    def autocast(self) -> AbstractContextManager[Any]:
        if self.half is None:
            return nullcontext()
        return torch.autocast(self.config.device.type, self.half)


class TrainingStep:
    """Forward, loss, backward, SGD with momentum."""

    def __init__(self, model: torch.nn.Module, nn: Any, batch: Batch) -> None:
        self.batch, self.device, self.nn = batch, batch.config.device, nn
        self.x = batch.x
        self.network = self.convert(model)
        self.model = batch.config.maybe_compile(self.network)
        self._convert(batch.config.memory_format)
        self.criterion = models.criterion(model, nn)
        self.optimizer: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), 1e-4, 0.9)

    def convert(self, model: torch.nn.Module) -> torch.nn.Module:
        return model.to(self.device, self.batch.dtype)

    def in_float64(self) -> TrainingStep:
        """The same step in float64, not compiled."""
        batch = self.batch.replaced(dtype=torch.float64, compile=False)
        return TrainingStep(copy.deepcopy(self.network), self.nn, batch)

    def in_the_other_memory_format(self) -> TrainingStep:
        """The same step in channels_last, or in NCHW if it is in channels_last."""
        (other,) = (f for f in MEMORY_FORMATS if f != self.batch.config.memory_format)
        batch = self.batch.replaced(memory_format=other)
        return TrainingStep(copy.deepcopy(self.network), self.nn, batch)

    def loss(self) -> tuple[Tensor, Tensor]:
        """The logits, of the main classifier if there are several, and the loss."""
        with self.batch.autocast():
            output = self.model(self.x)
            logits = models.logits(output)
            custom = hasattr(self.network, "criterion")  # takes the outputs of all classifiers
            return logits, self.criterion(output if custom else logits, self.batch.targets)

    def derivatives(self) -> tuple[Tensor, dict[str, Tensor | None]]:
        """The logits, and the gradients of the loss by parameter name."""
        self.optimizer.zero_grad()
        torch.manual_seed(0)
        logits, loss = self.loss()
        loss.backward()
        return logits, {name: p.grad for name, p in self.network.named_parameters()}

    def __call__(self, seed: int = 0) -> float:
        torch.manual_seed(seed)  # of the dropout masks
        self.optimizer.zero_grad()
        _, loss = self.loss()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def state(self) -> list[Tensor]:
        """What lasts from step to step: weights, buffers, and the optimiser's state."""
        kept = [v for state in self.optimizer.state.values() for v in state.values()]
        tensors = [*self.network.parameters(), *self.network.buffers(), *kept]
        return [t for t in tensors if isinstance(t, Tensor)]

    def run(self) -> tuple[float, float]:
        start = timer(self.device)
        self.optimizer.zero_grad()
        _, loss = self.loss()
        middle = timer(self.device)
        loss.backward()
        self.optimizer.step()
        return middle - start, timer(self.device) - start

    def use_the_faster_memory_format(self) -> None:
        """Convert to NCHW or channels_last, whichever is faster for this network."""
        seconds = []
        for memory_format in MEMORY_FORMATS:
            self._convert(memory_format)
            self.run()
            seconds.append(self.run()[1])
        self._convert(MEMORY_FORMATS[seconds.index(min(seconds))])

    def _convert(self, memory_format: torch.memory_format) -> None:
        self.x = to_memory_format(self.x, memory_format)
        for parameter in self.network.parameters():
            parameter.data = to_memory_format(parameter.data, memory_format)

    def peak(self) -> float:
        """Peak bytes of a step: images, weights, momentum buffers, and all temporary tensors."""

        def step() -> None:
            self()
            self.optimizer.zero_grad()  # gradients count as temporary

        if not self.optimizer.state:
            self()  # the first step allocates the momenta
        self.optimizer.zero_grad()
        return memory.nbytes([self.x, *self.state()]) + memory.peak(step, self.device)
