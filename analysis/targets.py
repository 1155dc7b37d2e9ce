"""The summary: what was asked of the layers' speed and memory, and what the rows say.

A figure over several rows is their geometric mean, each row counted as often as its network has
such a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import exp, isnan, log, nan, prod
from typing import NamedTuple

from . import shapes
from .accuracy import worst
from .benchmark import Measured
from .names import OURS, THEIRS
from .timing import Ratio


class Target(NamedTuple):
    what: str
    measured: float
    must: float | None  # reach
    aim: float | None = None

    @property
    def met(self) -> bool:
        if self.must is None:
            return True
        return self.measured <= self.must * (1 + 1e-9)  # 1/8 is 1/8, whatever a logarithm says


Figure = Callable[[Measured], float | None]  # None: the row has no such figure


def time_against(rival: str) -> Figure:
    """Forward and backward."""

    def figure(found: Measured) -> float | None:
        ratio = found.ratio(rival)
        return None if ratio is None else ratio.middle

    return figure


def peak_memory(found: Measured) -> float | None:
    ratio = found.peak[OURS] / found.peak.get(THEIRS, nan)
    return None if isnan(ratio) else ratio  # a device that does not count


def kept_per_index(found: Measured) -> float:
    """Bytes kept beside the input, over those of an int64 index for every window."""
    return found.kept[OURS][0] / (8 * prod(found.output))


def kept_per_column(found: Measured) -> float:
    """Bytes kept beside the image and the filters, over those of the columns (four-byte floats)."""
    _, channels, *_ = found.row.shape
    kernel_size = found.row.arguments[2]
    count, _, *pixels = found.output
    return found.kept[OURS][0] / (4 * count * channels * kernel_size**2 * prod(pixels))


# What is measured, on which rows, over what; must reach; aim for.
TARGETS: list[tuple[str, str, Figure, float | None, float | None]] = [
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
    ("max_pool2d kept / int64 indices", shapes.POOL, kept_per_index, 1 / 8, None),
    ("conv2d im2col kept / columns", shapes.IM2COL, kept_per_column, 0.0, None),
    ("conv2d auto kept / columns", shapes.VGG, kept_per_column, 0.0, None),
    ("conv2d im2col peak memory / torch.nn", shapes.IM2COL, peak_memory, 1.05, 1.00),
    ("conv2d auto peak memory / torch.nn", shapes.VGG, peak_memory, 1.05, 1.00),
]
LARGEST_ERROR = 2e-5  # of conv2d auto in float32: what Winograd's algorithm may cost
FLAT = 1.15  # growth of the time for the same work


def summary(found: Iterable[Measured], growths: dict[str, Ratio]) -> list[Target]:
    """A line for each target whose rows were measured; times are of forward and backward."""
    groups: dict[str, list[Measured]] = {}
    for one in found:
        groups.setdefault(one.row.group, []).append(one)
    lines = []
    for what, group, figure, must, aim in TARGETS:
        values = [(figure(one), one.row.copies) for one in groups.get(group, [])]
        known = [(value, count) for value, count in values if value is not None]
        if known:
            lines.append(Target(what, geometric_mean(known), must, aim))
    vgg = [worst(one.errors[OURS]) for one in groups.get(shapes.VGG, [])]
    if vgg:
        lines.append(Target("conv2d auto, largest relative error", max(vgg), LARGEST_ERROR))
    lines += [Target(f"conv2d {what}", ratio.middle, FLAT) for what, ratio in growths.items()]
    return lines


def geometric_mean(values: Sequence[tuple[float, int]]) -> float:
    """Of (value, how often it counts); 0 if any is."""
    if any(value == 0 for value, _ in values):
        return 0.0
    return exp(sum(count * log(value) for value, count in values) / sum(c for _, c in values))
