"""Our layers computed by the definitions in layers/ops/ alone, to show what readability costs.

They are timed separately, in a few rounds with ours and torch.nn's, so that the times of these two
are the same with and without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from torch import Tensor

import layers

from .names import OURS, REFERENCE, THEIRS
from .step import TrainingStep
from .timing import Ratio, Runnable, TimedLayer, Times, interleave

COLUMNS = ["", REFERENCE, OURS, THEIRS, f"over {OURS}", f"over {THEIRS}"]


class ReferenceLayer(TimedLayer):
    """Forward by the definitions, and so backward as well."""

    def forward(self) -> Tensor:
        with layers.reference():
            return super().forward()


class ReferenceStep(TrainingStep):
    def loss(self) -> tuple[Tensor, Tensor]:
        with layers.reference():
            return super().loss()


def few_rounds(sides: Mapping[str, Runnable]) -> dict[str, Times]:
    """Only as many as a ratio needs: the reference may take ten times as long as the others."""
    return interleave(sides, seconds=0)


def ratios(times: Mapping[str, Times]) -> dict[str, Ratio]:
    """The reference's time over that of each other side."""
    others = (side for side in times if side != REFERENCE)
    return {side: Ratio.of(times[REFERENCE].total, times[side].total) for side in others}


def cells(name: str, times: Mapping[str, Times]) -> list[str]:
    """A row under `COLUMNS`: milliseconds, and ratios; blank for a side that does not exist."""
    over = ratios(times)
    milliseconds = {side: f"{median(t.total) * 1e3:.2f}" for side, t in times.items()}
    return [
        name,
        *(milliseconds.get(side, "") for side in (REFERENCE, OURS, THEIRS)),
        *(str(over.get(side, "")) for side in (OURS, THEIRS)),
    ]


def flatten(times: Mapping[str, Times]) -> dict[str, float]:
    """Plain values, with keys such as reference.over.torch.nn.middle, in seconds."""
    flat = {f"reference.beside.{side}": median(t.total) for side, t in times.items()}
    for side, ratio in ratios(times).items():
        flat |= {f"reference.over.{side}.{key}": value for key, value in ratio._asdict().items()}
    return flat
