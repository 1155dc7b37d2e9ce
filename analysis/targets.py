"""The summary: targets for speed and memory, and the measured values.

A value over several rows is their geometric mean, weighted by how often the network has the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import exp, isnan, log, nan, prod
from typing import NamedTuple

from . import shapes
from .accuracy import worst
from .benchmark import Measurement
from .names import OURS, THEIRS
from .timing import Ratio


class Target(NamedTuple):
    what: str
    measured: float
    must: float | None  # the largest value allowed
    aim: float | None = None  # the value to work towards

    @property
    def met(self) -> bool:
        if self.must is None:
            return True
        return self.measured <= self.must * (1 + 1e-9)  # exp(log(1/8)) may exceed 1/8


Metric = Callable[[Measurement], float | None]  # None: not measured for this row


def time_against(baseline: str) -> Metric:
    """Time of forward and backward, over the baseline's."""

    def metric(measurement: Measurement) -> float | None:
        ratio = measurement.ratio(baseline)
        return None if ratio is None else ratio.middle

    return metric


def peak_memory(measurement: Measurement) -> float | None:
    ratio = measurement.peak[OURS] / measurement.peak.get(THEIRS, nan)
    return None if isnan(ratio) else ratio  # NaN: the device does not count


def saved_over_indices(measurement: Measurement) -> float:
    """Bytes saved besides the input, over the size of one int64 index per window."""
    return measurement.saved[OURS][0] / (8 * prod(measurement.output))


def saved_over_columns(measurement: Measurement) -> float:
    """Bytes saved besides the images and the filters, over the size of the float32 columns."""
    _, channels, *_ = measurement.row.shape
    kernel_size = measurement.row.arguments[2]
    batch, _, *pixels = measurement.output
    return measurement.saved[OURS][0] / (4 * batch * channels * kernel_size**2 * prod(pixels))


# Name, group of rows, metric, upper bound, aim.
TARGETS: list[tuple[str, str, Metric, float | None, float | None]] = [
    ("conv2d im2col / torch.nn", shapes.IM2COL, time_against(THEIRS), 1.40, 1.20),
    ("conv2d auto / torch.nn, VGG-16's 3x3", shapes.VGG, time_against(THEIRS), 0.80, 0.60),
    ("conv2d / textbook unfold", shapes.TEXTBOOK, time_against("unfold"), 0.45, 0.35),
    ("conv2d im2col / textbook unfold", shapes.IM2COL, time_against("unfold"), None, None),
    ("local_response_norm / torch.nn", shapes.LRN, time_against(THEIRS), 0.20, 0.10),
    ("max_pool2d / torch.nn, NCHW", shapes.POOL, time_against(THEIRS), 0.5, 0.3),
    ("max_pool2d / torch.nn, channels_last", shapes.POOL_LAST, time_against(THEIRS), 2.0, 1.0),
    ("lp_pool2d (L2) / torch.nn", shapes.LP, time_against(THEIRS), 0.5, 0.25),
    ("batch_norm / torch.nn", shapes.BATCH_NORM, time_against(THEIRS), 1.3, 1.0),
    ("locally_connected2d / JAX", shapes.LOCAL, time_against("jax"), 0.35, 0.25),
    ("locally_connected2d / the snippet", shapes.LOCAL, time_against("snippet"), 0.06, 0.04),
    ("max_pool2d kept / int64 indices", shapes.POOL, saved_over_indices, 1 / 8, None),
    ("conv2d im2col kept / columns", shapes.IM2COL, saved_over_columns, 0.0, None),
    ("conv2d auto kept / columns", shapes.VGG, saved_over_columns, 0.0, None),
    ("conv2d im2col peak memory / torch.nn", shapes.IM2COL, peak_memory, 1.05, 1.00),
    ("conv2d auto peak memory / torch.nn", shapes.VGG, peak_memory, 1.05, 1.00),
]
MAX_WINOGRAD_ERROR = 2e-5  # relative, in float32
MAX_GROWTH = 1.15  # of the time per unit of work


def summary(measurements: Iterable[Measurement], growths: dict[str, Ratio]) -> list[Target]:
    """One line for each target whose rows were measured."""
    groups: dict[str, list[Measurement]] = {}
    for m in measurements:
        groups.setdefault(m.row.group, []).append(m)
    lines = []
    for what, group, metric, must, aim in TARGETS:
        values = [(metric(m), m.row.copies) for m in groups.get(group, [])]
        known = [(value, weight) for value, weight in values if value is not None]
        if known:
            lines.append(Target(what, geometric_mean(known), must, aim))
    vgg = [worst(m.errors[OURS]) for m in groups.get(shapes.VGG, [])]
    if vgg:
        lines.append(Target("conv2d auto, largest relative error", max(vgg), MAX_WINOGRAD_ERROR))
    lines += [Target(f"conv2d {name}", r.middle, MAX_GROWTH) for name, r in growths.items()]
    return lines


def geometric_mean(values: Sequence[tuple[float, int]]) -> float:
    """Of pairs (value, weight); 0 if any value is."""
    if any(value == 0 for value, _ in values):
        return 0.0
    return exp(sum(w * log(value) for value, w in values) / sum(w for _, w in values))
