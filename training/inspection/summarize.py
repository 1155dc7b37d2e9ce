"""What `summarize.py` does: a network in numbers, for a person or for a program."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from rich.console import Console

import models
from analysis import predicted_memory
from analysis.chapter_table import chapter_table
from analysis.check_target import first_line
from analysis.explain import explain
from analysis.predicted_memory import Prediction, largest_batch, predict, predict_inference
from analysis.summary import Summary, document, summarize
from analysis.summary_table import show, size

from ..errors import UserError, is_out_of_memory
from .summary_target import Target, find

LARGEST = 1e15  # bytes, of --memory
UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12,
         "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}  # fmt: skip
CHAPTER = "vgg16"  # the network of the chapter's table


@dataclass(frozen=True)
class Memory:
    """Predicted, and perhaps measured, bytes at the peak."""

    training: Prediction
    inference: Prediction
    measured: int | None = None
    measured_inference: int | None = None
    available: float | None = None
    largest_training: int | None = None  # images that fit `available`
    largest_inference: int | None = None
    margin: float = predicted_memory.MARGIN


def summarize_target(
    name: str,
    *,
    layers: str | None = None,
    image_size: int | None = None,
    batch_size: int = 1,
    arguments: str = "",
    optimizer: str | None = None,
    dtype: str | None = None,
    available: float | None = None,
    measure: bool = False,
    predicted: bool = True,
) -> tuple[Target, Summary, Memory | None]:
    """Everything that `summarize.py` computes; no memory unless `predicted`.

    Args:
        optimizer, dtype: by default those that a checkpoint was trained with, or SGD and float32.
    Raises:
        UserError: no such network, or images that it does not take; says what to try.
    """
    target = find(name, layers=layers, image_size=image_size, arguments=arguments)
    precision = target.dtype if dtype is None else getattr(torch, dtype)
    with models.computing(target.layers):
        if precision == torch.float64:
            target = replace(target, model=target.model.double())
        shape = (batch_size, *target.image)
        summary = _or_explain(
            lambda: summarize(
                target.model, shape, name=target.name, layers=target.layers, dtype=precision
            ),
            name, shape,
        )  # fmt: skip
        if not predicted:
            return target, summary, None
        options: dict[str, Any] = dict(
            optimizer=optimizer or target.optimizer, dtype=precision, nn=target.nn
        )
        memory = _predicted(target, shape, options)
        if available is not None:
            largest = (
                largest_batch(target.model, target.image, available, way, **options).size
                for way in (predict, predict_inference)
            )
            training, inference = largest
            memory = replace(
                memory, available=available, largest_training=training, largest_inference=inference
            )
        if measure:
            memory = _measure(target, memory, shape, options)
    return target, summary, memory


def _predicted(target: Target, shape: tuple[int, ...], options: dict[str, Any]) -> Memory:
    """
    Raises:
        UserError: a network of the reader's own that cannot be run without numbers, or not trained.
    """
    try:
        return Memory(
            predict(target.model, shape, **options),
            predict_inference(target.model, shape, **options),
        )
    except Exception as error:
        if target.layers != "own":
            raise
        raise UserError(
            f"the memory of a training step of {target.name} cannot be predicted "
            f"({first_line(error)}): give --explain, which leaves it out"
        ) from None


def _or_explain(run: Callable[[], Summary], name: str, shape: tuple[int, ...]) -> Summary:
    try:
        return run()
    except (UserError, KeyboardInterrupt):
        raise
    except Exception as error:
        if "more than 1 value per channel" in str(error):
            raise UserError(
                "batch normalisation has no variance of one value: give --batch-size 2"
            ) from None
        if re.search(r"missing \d+ required positional argument", str(error)):
            raise UserError(
                f"{name} is given one batch of images, and {first_line(error)}: wrap it in a "
                "module whose forward takes images alone"
            ) from None
        images = " x ".join(map(str, shape))
        raise UserError(
            f"{name} raises {first_line(error)} for images {images}: give the size that it takes "
            "with --image-size"
        ) from None


def _measure(
    target: Target, memory: Memory, shape: tuple[int, ...], options: dict[str, Any]
) -> Memory:
    """
    Raises:
        UserError: the step does not fit this machine's memory.
    """
    try:
        return replace(
            memory,
            measured=predicted_memory.measure(target.build, shape, **options),
            measured_inference=predicted_memory.measure_inference(target.build, shape, **options),
        )
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"a step of {shape[0]} images does not fit this machine's memory: its prediction is "
            f"{size(memory.training.peak)}; leave out --measure, or give a smaller --batch-size"
        ) from None


def bytes_of(text: str) -> float:
    """Bytes in "12GB" (powers of 1000) or "12GiB" (powers of 1024).

    Raises:
        UserError: neither.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", text.lower())
    if match is None or match[2] not in UNITS or not float(match[1]):
        raise UserError(f"--memory must be a size such as 12GB or 12GiB, got {text!r}")
    found = float(match[1]) * UNITS[match[2]]
    if found > LARGEST:
        raise UserError(f"--memory must be at most {LARGEST / 1e12:.0f}TB, got {text!r}")
    return found


def print_summary(
    summary: Summary,
    memory: Memory | None,
    *,
    explained: bool = False,
    console: Console | None = None,
) -> None:
    """For a person: in colour on a terminal, plain elsewhere."""
    console = console or Console(markup=False, highlight=False, emoji=False)
    show(summary, console)
    lines = [] if memory is None else ["", *memory_lines(memory)]
    if summary.name == CHAPTER or explained:
        lines += ["", chapter_table(summary)]
    if explained:
        lines += ["", explain(summary)]
    console.print("\n".join(lines), soft_wrap=True)


def memory_lines(memory: Memory) -> list[str]:
    """The predicted peaks and their parts."""
    training, inference = memory.training, memory.inference
    parts = ("weights", "gradients", "optimizer", "activations", "temporary")
    split = ", ".join(
        f"{part} {size(getattr(training, part))}" for part in parts if getattr(training, part)
    )
    lines = [
        f"  memory at the peak of a training step, predicted: {size(training.peak)}",
        f"    {split}",
        f"    and {size(training.workspace) or 'no'} workspace, which kernels keep between steps",
        f"  of inference: {size(inference.peak)}",
    ]
    if memory.measured is not None:
        gap = training.peak / memory.measured - 1
        lines.append(
            f"  measured: {size(memory.measured)} (the prediction is {gap:+.1%}), of inference "
            f"{size(memory.measured_inference)}"
        )
    if memory.available is not None:
        lines.append(
            f"  in {size(int(memory.available))} fit {memory.largest_training:,} images of "
            f"training, {memory.largest_inference:,} of inference: the prediction times "
            f"{memory.margin:g}"
        )
    return lines


def as_json(summary: Summary, memory: Memory) -> str:
    """For a program; docs/summarize.md lists the keys."""
    found = {
        "training_peak": memory.training._asdict(),
        "inference_peak": memory.inference._asdict(),
        "measured_training_peak": memory.measured,
        "measured_inference_peak": memory.measured_inference,
        "available": memory.available,
        "largest_training_batch": memory.largest_training,
        "largest_inference_batch": memory.largest_inference,
        "margin": memory.margin,
    }
    return json.dumps({**document(summary), "memory": found}, indent=2)
