"""Measures one row of the table: errors, times and memory of our layer and of its alternatives."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

import torch
from torch import Tensor

import layers
import models

from . import accuracy, memory
from .baselines import BASELINES, LocalReference
from .benchmark_config import BenchmarkConfig
from .names import OURS, REFERENCE, THEIRS
from .reference import ReferenceLayer, few_rounds
from .shapes import Growth, Row
from .timing import Ratio, Runnable, TimedLayer, Times, interleave

MEMORY_FORMATS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
THEIRS_LAST = f"{THEIRS} channels_last"


@dataclass
class Measurement:
    """Of one row, by side: "ours", "torch.nn", "reference" and the baselines, if they exist."""

    row: Row
    errors: dict[str, dict[str, float]] = field(default_factory=dict)  # by side, then by tensor
    second: dict[str, float] = field(default_factory=dict)  # of our second derivatives, by tensor
    times: dict[str, Times] = field(default_factory=dict)
    reference: dict[str, Times] = field(default_factory=dict)  # of the same rounds as the reference
    peak: dict[str, float] = field(default_factory=dict)  # bytes, with the input and parameters
    saved: dict[str, tuple[int, int]] = field(default_factory=dict)  # see memory.saved_bytes
    output: tuple[int, ...] = ()  # its shape

    def ratio(self, baseline: str = THEIRS, part: str = "total") -> Ratio | None:
        """Our time over the baseline's; None if the baseline was not timed."""
        if baseline not in self.times:
            return None
        return Ratio.of(getattr(self.times[OURS], part), getattr(self.times[baseline], part))

    def within(self, tolerance: float) -> bool:
        """Whether all our errors are at most `tolerance`; NaN is not."""
        ours = self.errors.get(OURS, {})
        return all(e <= tolerance for e in (*ours.values(), *self.second.values()))


def measure(row: Row, config: BenchmarkConfig) -> Measurement:
    """Errors, times and memory of a row."""
    ours, theirs = build(row)
    measurement = profile(row, ours, theirs, config)
    if row.layer != "Dropout" or (config.device.type == "cpu" and not config.compile):
        # On other devices, or compiled, the same seed gives the two sides different masks.
        _measure_errors(measurement, ours, theirs, config)
    return measurement


def profile(
    row: Row, ours: torch.nn.Module, theirs: torch.nn.Module | None, config: BenchmarkConfig
) -> Measurement:
    """Times and memory of a row."""
    measurement, sides = Measurement(row), _sides(row, ours, theirs, config)
    reference = sides.pop(REFERENCE, None)
    measurement.times = interleave(sides, config.seconds)
    if reference is not None:
        beside = {OURS: sides[OURS]}
        if theirs is not None:
            both = [side for side in (THEIRS, THEIRS_LAST) if side in sides]
            faster = min(both, key=lambda side: median(measurement.times[side].total))
            beside[THEIRS] = sides[faster]
        measurement.reference = few_rounds({REFERENCE: reference, **beside})
    for name, side in sides.items():
        if isinstance(side, TimedLayer):
            held = memory.nbytes(side.leaves)
            measurement.peak[name] = held + memory.peak(side.run, config.device)
            measurement.saved[name] = memory.saved_bytes(side.layer, side.inputs)
            measurement.output = tuple(side.dy.shape)
    if THEIRS_LAST in sides:
        _keep_the_better_memory_format(measurement)
    return measurement


def build(row: Row) -> tuple[torch.nn.Module, torch.nn.Module | None]:
    """Our layer and its torch.nn twin with the same parameters; None if there is no twin."""
    ours_class = getattr(layers, row.layer)
    torch.manual_seed(0)
    ours = ours_class(*row.arguments, **row.options, **row.ours)
    if not hasattr(torch.nn, row.layer):
        return ours, None
    theirs = getattr(torch.nn, row.layer)(*row.arguments, **row.options)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def _inputs(
    row: Row, config: BenchmarkConfig, memory_format: torch.memory_format | None = None
) -> list[Tensor]:
    """The row's input, followed by the targets if its layer is a loss."""
    image = config.leaf(config.randn(row.shape, seed=0), memory_format)
    if row.layer != "CrossEntropyLoss":
        return [image]
    batch, classes = row.shape
    return [image, torch.arange(batch, device=config.device) % classes]


def _measure_errors(
    measurement: Measurement,
    ours: torch.nn.Module,
    theirs: torch.nn.Module | None,
    config: BenchmarkConfig,
) -> None:
    """Errors against float64: first derivatives at full size, second ones on a small input."""
    memory_format = MEMORY_FORMATS.get(measurement.row.layout)
    twin = theirs
    if twin is None:
        assert isinstance(ours, layers.LocallyConnected2d)
        twin = LocalReference(ours)
    exact_layer = config.prepare(twin).double()
    inputs = _inputs(measurement.row, config, memory_format)
    exact = accuracy.derivatives(exact_layer, accuracy.to_float64(inputs), config)
    sides = {OURS: ours, THEIRS: theirs, REFERENCE: ours if config.reference else None}
    for name, layer in sides.items():
        if layer is not None:
            prepared = config.maybe_compile(config.prepare(layer, memory_format))
            with models.computing(name):
                computed = accuracy.derivatives(prepared, inputs, config)
            measurement.errors[name] = accuracy.errors(computed, exact)
    inputs = _inputs(measurement.row.small(), config, memory_format)
    measurement.second = accuracy.errors(
        # not compiled: torch.compile supports first derivatives only
        accuracy.second_derivatives(config.prepare(ours, memory_format), inputs, config),
        accuracy.second_derivatives(exact_layer, accuracy.to_float64(inputs), config),
    )


def _sides(
    row: Row, ours: torch.nn.Module, theirs: torch.nn.Module | None, config: BenchmarkConfig
) -> dict[str, Runnable]:
    """All that is timed.  If the row fixes no memory format, torch.nn runs in both."""

    def side(
        layer: torch.nn.Module,
        memory_format: torch.memory_format | None,
        kind: type[TimedLayer] = TimedLayer,
    ) -> TimedLayer:
        prepared = config.maybe_compile(config.prepare(layer, memory_format))
        return kind(prepared, _inputs(row, config, memory_format))

    fixed = MEMORY_FORMATS.get(row.layout)
    sides: dict[str, Runnable] = {OURS: side(ours, fixed)}
    if theirs is not None:
        sides[THEIRS] = side(theirs, fixed or torch.contiguous_format)
        if fixed is None and len(row.shape) == 4:
            sides[THEIRS_LAST] = side(theirs, torch.channels_last)
    if config.reference:
        sides[REFERENCE] = side(ours, fixed, ReferenceLayer)
    for name in row.baselines:
        contiguous = config.prepare(ours, torch.contiguous_format)
        baseline = BASELINES[name](contiguous, _inputs(row, config)[0])
        if baseline is not None:
            sides[name] = baseline
    return sides


def _keep_the_better_memory_format(measurement: Measurement) -> None:
    """For torch.nn, keep the better figure of its two memory formats, each time."""
    both = measurement.times[THEIRS], measurement.times.pop(THEIRS_LAST)
    measurement.times[THEIRS] = Times(
        min((times.forward for times in both), key=median),
        min((times.total for times in both), key=median),
    )
    peak, saved = measurement.peak, measurement.saved
    peak[THEIRS] = min(peak[THEIRS], peak.pop(THEIRS_LAST))
    saved[THEIRS] = min(saved[THEIRS], saved.pop(THEIRS_LAST))


def measure_growth(growth: Growth, config: BenchmarkConfig) -> dict[str, Ratio]:
    """Time per unit of work on the large input, over that on the small one; 1 is linear."""
    sides: dict[str, Runnable] = {}
    for name, index in ((OURS, 0), (THEIRS, 1)):
        for size, row in (("small", growth.small), ("large", growth.large)):
            layer = build(row)[index]
            assert layer is not None
            prepared = config.maybe_compile(config.prepare(layer))
            sides[f"{name} {size}"] = TimedLayer(prepared, _inputs(row, config))
    times = interleave(sides, config.seconds)
    return {
        name: Ratio.of(
            [seconds / growth.factor for seconds in times[f"{name} large"].total],
            times[f"{name} small"].total,
        )
        for name in (OURS, THEIRS)
    }
