"""`compare.py models`: our layers against torch.nn's over a whole network.

The same numbers from the same weights, and at what price.
"""

from __future__ import annotations

import copy
import inspect
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

import layers
import models

from . import accuracy, memory
from .setting import Setting, laid_out
from .timing import Ratio, Times, interleave, timer

STEPS = 20  # of the trajectory
FAMILIES = ("lenet", "lenet5", "alexnet", "zfnet", "vgg16", "googlenet", "resnet18", "resnet50")
SMALL_IMAGE, MANY, FEW = 64, 128, (4, 16)  # pixels; images per step of small, of large images
BUDGET = 256 << 20  # bytes that one step keeps for its backward pass, if --batch-size is not given
LAYOUTS = torch.contiguous_format, torch.channels_last


@dataclass
class Parity:
    """Of one network; errors are relative to the largest number of the tensor."""

    name: str
    shape: tuple[int, ...]  # of a batch of images
    logits: float  # ours against torch.nn's
    exact: float  # of logits and of every gradient, both sets in float64
    gradients: dict[str, float]  # of either as one vector, against torch.nn's in float64
    trajectory: float  # of the losses of `STEPS` training steps, ours against torch.nn's
    times: dict[str, Times]  # of a training step: its forward pass and loss, and all of it
    peak: dict[str, int]  # bytes at the peak of a training step
    note: str = ""

    def within(self, tolerance: float) -> bool:
        """Whether every error is; NaN is not.  See `accuracy.NETWORK`."""
        bound = max(tolerance, accuracy.AS_THEIRS * self.gradients["torch.nn"])
        return (
            self.logits <= tolerance
            and self.trajectory <= tolerance
            and self.gradients["ours"] <= bound
            and self.exact <= accuracy.NETWORK[torch.float64]
        )

    @property
    def ratio(self) -> Ratio:
        return Ratio.of(self.times["ours"].both, self.times["torch.nn"].both)


def default_models() -> tuple[str, ...]:
    """One network of each family."""
    return tuple(name for name in FAMILIES if name in models.MODELS)


def compare(
    name: str,
    setting: Setting,
    batch_size: int | None = None,
    image_size: int | None = None,
    num_classes: int | None = None,
) -> Parity:
    """Build the network twice from the same weights, and train both on the same random images.

    Args:
        name: a key of `models.MODELS`.
        setting: half precision is torch.autocast's.
        batch_size: images per step; None for 128 small images, or as many large ones, 4 to 16, as
            one step can keep in 256 MiB.
        image_size, num_classes: None for the network's own.
    Raises:
        ValueError: the image is too small.
    """
    given = {"image_size": image_size, "num_classes": num_classes}
    options = {option: value for option, value in given.items() if value is not None}
    torch.manual_seed(0)
    ours, theirs = (models.build(name, nn=nn, **options) for nn in (layers, torch.nn))
    theirs.load_state_dict(ours.state_dict())
    image = _own(ours, "in_channels"), *2 * [image_size or _own(ours, "image_size")]
    shape = (batch_size or _batch_that_fits(ours, image), *image)
    batch = _Batch(setting, shape, num_classes or _own(ours, "num_classes"))
    steps = {"ours": Step(ours, layers, batch), "torch.nn": Step(theirs, torch.nn, batch)}

    note, errors = "", _errors(steps)
    if _dropouts(ours) and not errors[0] <= accuracy.NETWORK[setting.dtype]:
        # One seed, but two masks: drawn in another order of memory, on a GPU, by torch.compile.
        for dropout in _dropouts(ours, theirs):
            dropout.p = 0.0
        note, errors = "without dropout, whose masks differ here", _errors(steps)
    losses = {side: torch.tensor([step(n) for n in range(STEPS)]) for side, step in steps.items()}
    steps["torch.nn"].use_the_faster_layout()
    return Parity(
        name, shape, *errors, accuracy.error(losses["ours"], losses["torch.nn"]),
        interleave(steps, setting.seconds),
        {side: step.peak() for side, step in steps.items()}, note,
    )  # fmt: skip


def _errors(steps: dict[str, Step]) -> tuple[float, float, dict[str, float]]:
    """Of the logits, of everything in float64, and of either's gradients (see `Parity`)."""
    logits, gradients = {}, {}
    for side, step in steps.items():
        logits[side], gradients[side] = step.derivatives()
        exact = step.exact()
        logits[f"exact {side}"], gradients[f"exact {side}"] = exact.derivatives()
    truth = gradients["exact torch.nn"]
    largest = max(g.abs().max().item() for g in truth.values() if g is not None)
    # Some gradients are zero, but for roundings: a bias's before batch normalisation.
    exact_errors = accuracy.errors(gradients["exact ours"], truth, least=1e-6 * largest)
    exact_errors["logits"] = accuracy.error(logits["exact ours"], logits["exact torch.nn"])
    return (
        accuracy.error(logits["ours"], logits["torch.nn"]),
        accuracy.worst(exact_errors),
        {side: accuracy.distance(gradients[side], truth) for side in steps},
    )


def _own(network: torch.nn.Module, option: str) -> int:
    """What a network's class takes by default."""
    return inspect.signature(type(network)).parameters[option].default


def _batch_that_fits(model: torch.nn.Module, image: tuple[int, ...]) -> int:
    """How many images, a power of two."""
    if image[-1] <= SMALL_IMAGE:
        return MANY
    smallest, largest = FEW
    _, each = memory.kept(copy.deepcopy(model).eval(), [torch.zeros(1, *image)])
    fits = min(largest, max(smallest, BUDGET // each))
    return 1 << (fits.bit_length() - 1)


def _dropouts(*networks: torch.nn.Module) -> list[torch.nn.Dropout]:
    modules = (module for network in networks for module in network.modules())
    return [module for module in modules if isinstance(module, torch.nn.Dropout) and module.p]


class _Batch:
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

    def exact(self) -> _Batch:
        setting = replace(self.setting, dtype=torch.float64, compile=False)
        return _Batch(setting, self.shape, self.num_classes)

    def precision(self) -> AbstractContextManager[Any]:
        if self.half is None:
            return nullcontext()
        return torch.autocast(self.setting.device, self.half)


class Step:
    """One training step: forward, loss, backward, SGD with momentum."""

    def __init__(self, model: torch.nn.Module, nn: Any, batch: _Batch) -> None:
        self.batch, self.device, self.nn = batch, batch.setting.device, nn
        self.x = batch.x
        self.network = model.to(self.device, batch.dtype)
        self.model = batch.setting.compiled(self.network)
        self._lay_out(batch.setting.memory_format)
        self.criterion = models.criterion(model, nn)
        self.optimizer = torch.optim.SGD(model.parameters(), 1e-4, 0.9)

    def exact(self) -> Step:
        """The same step in float64."""
        return Step(copy.deepcopy(self.network), self.nn, self.batch.exact())

    def loss(self) -> tuple[Tensor, Tensor]:
        """Logits, and the loss.  A network with auxiliary heads answers a tuple with `logits`."""
        with self.batch.precision():
            output = self.model(self.x)
            logits = getattr(output, "logits", output)
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
        start = timer()
        self.optimizer.zero_grad()
        _, loss = self.loss()
        middle = timer()
        loss.backward()
        self.optimizer.step()
        return middle - start, timer() - start

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

    def peak(self) -> int:
        """Bytes at the peak of a step: images, weights and momenta, and what comes and goes."""

        def step() -> None:
            self()
            self.optimizer.zero_grad()  # gradients belong to what comes and goes

        weights = list(self.network.parameters())
        momenta = [v for s in self.optimizer.state.values() for v in s.values() if v is not None]
        return memory.bytes_of([self.x, *weights, *momenta]) + memory.peak(step, self.device)
