"""A training step of a network, to be looked at from all sides: numbers, time, memory."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

import models

from . import memory
from .setting import Setting, laid_out
from .timing import timer

LAYOUTS = torch.contiguous_format, torch.channels_last


class Batch:
    """Random images and targets, where and in which precision the networks want them."""

    def __init__(self, setting: Setting, shape: tuple[int, ...], num_classes: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.setting, self.shape, self.num_classes = setting, shape, num_classes
        self.half = setting.dtype if setting.dtype.itemsize < 4 else None
        self.dtype = torch.float32 if self.half else setting.dtype
        images = torch.randn(shape, generator=generator).to(setting.device, self.dtype)
        self.x = laid_out(images, setting.memory_format)
        targets = torch.randint(num_classes, shape[:1], generator=generator)
        self.targets = targets.to(setting.device)

    def replaced(self, **changes: Any) -> Batch:
        """The same images and targets in another setting."""
        return Batch(replace(self.setting, **changes), self.shape, self.num_classes)

    def precision(self) -> AbstractContextManager[Any]:
        if self.half is None:
            return nullcontext()
        return torch.autocast(self.setting.device.type, self.half)


class Step:
    """One training step: forward, loss, backward, SGD with momentum."""

    def __init__(self, model: torch.nn.Module, nn: Any, batch: Batch) -> None:
        self.batch, self.device, self.nn = batch, batch.setting.device, nn
        self.x = batch.x
        self.network = model.to(self.device, batch.dtype)
        self.model = batch.setting.compiled(self.network)
        self._lay_out(batch.setting.memory_format)
        self.criterion = models.criterion(model, nn)
        self.optimizer = torch.optim.SGD(model.parameters(), 1e-4, 0.9)

    def exact(self) -> Step:
        """The same step in float64."""
        batch = self.batch.replaced(dtype=torch.float64, compile=False)
        return Step(copy.deepcopy(self.network), self.nn, batch)

    def in_the_other_layout(self) -> Step:
        """The same step with images and filters channels_last, or if they are, in NCHW."""
        (other,) = (layout for layout in LAYOUTS if layout != self.batch.setting.memory_format)
        batch = self.batch.replaced(memory_format=other)
        return Step(copy.deepcopy(self.network), self.nn, batch)

    def loss(self) -> tuple[Tensor, Tensor]:
        """Logits, and the loss.  A network with auxiliary heads answers a tuple with `logits`."""
        with self.batch.precision():
            output = self.model(self.x)
            logits = models.logits(output)
            own = hasattr(self.network, "criterion")  # a loss of the paper's, for all its heads
            return logits, self.criterion(output if own else logits, self.batch.targets)

    def derivatives(self) -> tuple[Tensor, dict[str, Tensor | None]]:
        """Logits, and the loss's gradients by parameter."""
        self.optimizer.zero_grad()
        torch.manual_seed(0)
        logits, loss = self.loss()
        loss.backward()
        return logits, {name: p.grad for name, p in self.network.named_parameters()}

    def __call__(self, seed: int = 0) -> float:
        torch.manual_seed(seed)  # of dropout's masks
        self.optimizer.zero_grad()
        _, loss = self.loss()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def run(self) -> tuple[float, float]:
        start = timer(self.device)
        self.optimizer.zero_grad()
        _, loss = self.loss()
        middle = timer(self.device)
        loss.backward()
        self.optimizer.step()
        return middle - start, timer(self.device) - start

    def use_the_faster_layout(self) -> None:
        """NCHW or channels_last, whichever takes this network less time."""
        seconds = []
        for layout in LAYOUTS:
            self._lay_out(layout)
            self.run()
            seconds.append(self.run()[1])
        self._lay_out(LAYOUTS[seconds.index(min(seconds))])

    def _lay_out(self, layout: torch.memory_format) -> None:
        self.x = laid_out(self.x, layout)
        for parameter in self.network.parameters():
            parameter.data = laid_out(parameter.data, layout)

    def peak(self) -> float:
        """Bytes at the peak of a step: images, weights and momenta, and what comes and goes."""

        def step() -> None:
            self()
            self.optimizer.zero_grad()  # gradients belong to what comes and goes

        self.optimizer.zero_grad()
        weights = list(self.network.parameters())
        momenta = [v for s in self.optimizer.state.values() for v in s.values() if v is not None]
        return memory.bytes_of([self.x, *weights, *momenta]) + memory.peak(step, self.device)
