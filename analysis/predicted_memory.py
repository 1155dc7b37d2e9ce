"""The memory of a training step, predicted: run once on fake tensors, counting live storages.

No memory is taken and no number computed, so that a network that does not fit this machine is
predicted as well as any.

What a library allocates inside an operation of torch's is not seen: oneDNN's copies of images and
filters in an order of its own, for torch.nn's convolutions (docs/memory.md).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

import layers
import models

from . import memory
from .benchmark_config import BenchmarkConfig
from .fake_network import Model, built, fake_network, is_fake
from .live_storages import INSIDE, LiveStorages, Serial
from .step import Batch, TrainingStep

MARGIN = 1.03  # on a prediction, for a batch that is to fit

OPTIMIZERS: dict[str, Callable[[Iterable[Tensor]], torch.optim.Optimizer]] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, 1e-4, 0.9),
    "nesterov": lambda parameters: torch.optim.SGD(parameters, 1e-4, 0.9, nesterov=True),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, 1e-4),
}  # train.py's --optimizer


class Prediction(NamedTuple):
    """Bytes at the peak of a step, which is the sum of the five that follow."""

    peak: int
    weights: int  # and buffers
    gradients: int  # of the weights, as far as they are there at that moment
    optimizer: int  # its state
    activations: int  # the images, and what the forward pass left for the backward pass
    temporary: int  # all else: gradients of activations, what operations need while they run
    workspace: int  # not in the peak: what the kernels of layers/ keep from step to step


class LargestBatch(NamedTuple):
    size: int  # images; 0 if not even the smallest step fits
    prediction: Prediction | None  # of that batch
    margin: float  # prediction.peak * margin fits the memory


class Step(TrainingStep):
    """A training step of any network, also of one whose output is not (N, num_classes)."""

    def __init__(
        self,
        model: torch.nn.Module,
        shape: Sequence[int],
        optimizer: str = "sgd",
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.contiguous_format,
        nn: Any = layers,
    ) -> None:
        config = BenchmarkConfig(dtype=dtype, memory_format=memory_format)
        super().__init__(model, nn, Batch(config, tuple(shape), 1))
        self.optimizer = OPTIMIZERS[optimizer](model.parameters())

    def convert(self, model: torch.nn.Module) -> torch.nn.Module:
        return model if is_fake(model) else super().convert(model)

    def loss(self) -> tuple[Tensor, Tensor]:
        """As `TrainingStep.loss`; cross-entropy of every pixel for maps of logits, (N, K, H, W);
        the sum of all outputs if there are no logits among them."""
        if hasattr(self.network, "criterion"):
            return super().loss()
        with self.batch.autocast():
            output = self.model(self.x)
            if not isinstance(output, Tensor) and not hasattr(output, "logits"):
                volumes = [v for v in tree_leaves(output) if isinstance(v, Tensor)]
                return volumes[0], torch.stack([v.sum() for v in volumes]).sum()
            logits = models.logits(output)
            targets = self.batch.targets.view(-1, *(1 for _ in logits.shape[2:]))
            return logits, self.criterion(logits, targets.expand(-1, *logits.shape[2:]))

    def infer(self) -> None:
        with torch.no_grad(), self.batch.autocast():
            self.model(self.x)

    def allocate_optimizer_state(self) -> None:
        """As the first update does, by an update whose gradients are zero."""
        for parameter in self.network.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()
        self.optimizer.zero_grad()


def predict(model: Model, shape: Sequence[int], **options: Any) -> Prediction:
    """The peak of a training step: forward, loss, backward and update, on one thread of a CPU.

    Args:
        model: a network, which is left as it is, or a function that builds one, such as
            `lambda: models.build("resnet152")`: then not even its weights take memory.
        shape: of the images, (N, C, H, W).
        options: `optimizer`, a key of `OPTIMIZERS`; `dtype` of weights and images, of which half
            precision runs under torch.autocast; `memory_format` of images and filters; and `nn`,
            `layers` or `torch.nn`, whose loss is computed.  Defaults: those of `Step`.
    Raises:
        what the network raises for such images.
    """
    storages = LiveStorages()
    with fake_network(model, options.get("dtype", torch.float32)) as network, torch.enable_grad():
        step = Step(network.train(), shape, **options)
        step.allocate_optimizer_state()
        weights = storages.add([*network.parameters(), *network.buffers()])
        state = storages.add(step.state()) - weights
        storages.add([step.x, step.batch.targets])
        with storages:
            _, loss = step.loss()
            activations = storages.alive() - weights - state
            loss.backward()
            gradients = storages.add([parameter.grad for parameter in network.parameters()])
            step.optimizer.step()
        return _prediction(storages, weights, gradients, state, activations)


def predict_inference(model: Model, shape: Sequence[int], **options: Any) -> Prediction:
    """The peak of a forward pass in evaluation, where nothing is kept; see `predict`.

    The images, and all outputs that are alive at that moment, count as activations.
    """
    storages = LiveStorages()
    with fake_network(model, options.get("dtype", torch.float32)) as network:
        step = Step(network.eval(), shape, **options)
        weights = storages.add([*network.parameters(), *network.buffers()])
        storages.add(step.x)
        with storages:
            step.infer()
        volumes = {*storages.peak()} - weights - {INSIDE}
        return _prediction(storages, weights, set(), set(), volumes)


def measure(model: Model, shape: Sequence[int], **options: Any) -> int:
    """The peak of a training step that is really computed, in bytes; see `predict`.

    Raises:
        MemoryError, RuntimeError: it does not fit.
    """
    return int(_step(model, shape, options).peak())


def measure_inference(model: Model, shape: Sequence[int], **options: Any) -> int:
    """The peak of a forward pass in evaluation that is really computed; see `predict`."""
    step = _step(model, shape, options)
    step.network.eval()
    kept = memory.nbytes([step.x, *step.state()])
    return int(kept + memory.peak(step.infer, step.device))


def largest_batch(
    model: Model,
    image: Sequence[int],
    available: float,
    predict: Callable[..., Prediction] = predict,
    margin: float = MARGIN,
    most: int | None = None,
    **options: Any,
) -> LargestBatch:
    """The most images in a step whose predicted peak, times a margin, fits the memory.

    Found by bisection, because the peak is not linear in the batch: kernels change their ways, and
    of a small batch it lies in the update of the weights.  Every other trial is where a straight
    line would cross the budget, which is nearly right for large batches.

    Args:
        image: shape of one, (C, H, W).
        available: bytes.
        predict: `predict`, or `predict_inference`.
        most: images; None for as many as fit.
        options: of `predict`.
    """
    network, budget = built(model), available / margin
    smallest, first = _smallest(network, image, predict, options)
    if first.peak > budget or (most is not None and smallest > most):
        return LargestBatch(0, None, margin)
    low, found, high = smallest, first, None if most is None else most + 1  # `high` do not fit
    trials = 0
    while high is None or high - low > 1:
        end = high or 16 * low
        size = (low + end) // 2
        if trials % 2 and found.peak > first.peak:  # where a straight line would cross the budget
            per_image = (found.peak - first.peak) / (low - smallest)
            size = min(max(low + int((budget - found.peak) / per_image), low + 1), end - 1)
        prediction = predict(network, (size, *image), **options)
        if prediction.peak <= budget:
            low, found = size, prediction
        else:
            high = size
        trials += 1
    return LargestBatch(low, found, margin)


def _smallest(
    model: torch.nn.Module,
    image: Sequence[int],
    predict: Callable[..., Prediction],
    options: dict[str, Any],
) -> tuple[int, Prediction]:
    """A batch of one; of two where batch normalisation refuses a single value of each channel."""
    try:
        return 1, predict(model, (1, *image), **options)
    except ValueError:
        return 2, predict(model, (2, *image), **options)


def _step(model: Model, shape: Sequence[int], options: dict[str, Any]) -> Step:
    network = copy.deepcopy(model) if isinstance(model, torch.nn.Module) else model()
    return Step(network.train(), shape, **options)


def _prediction(
    storages: LiveStorages,
    weights: set[Serial],
    gradients: set[Serial],
    optimizer: set[Serial],
    activations: set[Serial],
) -> Prediction:
    alive = storages.peak()
    parts = [
        sum(alive.get(serial, 0) for serial in part)
        for part in (weights, gradients, optimizer, activations)
    ]
    total, kept = sum(alive.values()), memory.nbytes([*storages.workspace.values()])
    return Prediction(total, *parts, total - sum(parts), kept)  # type: ignore[call-arg]
