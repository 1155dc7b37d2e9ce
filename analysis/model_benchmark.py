"""`compare.py models`: compares networks one after another, and reports them in tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from . import accuracy, reference
from .benchmark_config import BenchmarkConfig
from .layer_benchmark import MIB
from .names import OURS, REFERENCE, THEIRS
from .parity import STEPS, Parity, compare
from .report import Bar, bar_chart
from .table import Table


@dataclass
class ModelBenchmark:
    config: BenchmarkConfig
    results: list[Parity] = field(default_factory=list)

    def run(self, names: Sequence[str], log: Callable[[str], None], **sizes: int | None) -> None:
        """
        Args:
            sizes: batch_size, image_size and num_classes of `parity.compare`.
        Raises:
            ValueError: the image is too small for a network.
        """
        for number, name in enumerate(names, 1):
            self.results.append(compare(name, self.config, **sizes))
            log(f"{number}/{len(names)}  {name}  {self.results[-1].ratio}")

    @property
    def tolerance(self) -> float:
        return accuracy.NETWORK_TOLERANCE[self.config.dtype]

    @property
    def failed(self) -> list[str]:
        """Networks with an error beyond the tolerance."""
        return [parity.name for parity in self.results if not parity.within(self.tolerance)]

    def tables(self) -> list[Table]:
        errors = []
        for parity in self.results:
            pairs = (parity.logits, parity.gradients, parity.losses)
            cells = (" / ".join(f"{pair[side]:.0e}" for side in (OURS, THEIRS)) for pair in pairs)
            size = " x ".join(map(str, parity.shape))
            errors.append([parity.name, size, *cells, f"{parity.exact:.0e}", parity.note])
        profiles = []
        for parity in self.results:
            seconds = (median(parity.times[side].total) for side in (OURS, THEIRS))
            peaks = [parity.peak[side] for side in (OURS, THEIRS)]
            profiles.append(
                [
                    parity.name, *(f"{s * 1e3:.1f}" for s in seconds), str(parity.ratio),
                    *(f"{peak / MIB:.0f}" for peak in peaks), f"{peaks[0] / peaks[1]:.2f}",
                ]
            )  # fmt: skip
        tables = [
            Table(
                f"Relative errors, ours / torch.nn's (tolerance {self.tolerance:.0e}); and ours "
                "against torch.nn's in float64",
                ["", "images", "logits", "gradients", f"{STEPS} losses", "in float64", ""],
                errors,
                words=(0, 6),
            ),
            Table(
                "A training step: milliseconds, ratio (spread over the rounds); MiB at its peak",
                ["", "ours", "torch.nn", "ratio", "peak", "torch.nn", "ratio"],
                profiles,
            ),
            self._reference(),
        ]
        return [table for table in tables if table.rows]

    def _reference(self) -> Table:
        rows = []
        for parity in self.results:
            if parity.reference:
                peak = parity.peak[REFERENCE]
                rows.append(
                    [
                        *reference.cells(parity.name, parity.reference), f"{peak / MIB:.0f}",
                        f"{peak / parity.peak[THEIRS]:.2f}",
                        *(f"{e[REFERENCE]:.0e}" for e in (parity.logits, parity.gradients)),
                    ]
                )  # fmt: skip
        return Table(
            "What readability would cost: ours by the definitions in layers/ops/ alone, "
            "milliseconds of a training step; ratios; MiB at its peak; relative errors",
            [*reference.COLUMNS, "peak", f"over {THEIRS}", "logits", "gradients"],
            rows,
        )

    def bars(self) -> list[Bar]:
        return [Bar(parity.name, *parity.ratio, "training step") for parity in self.results]

    def chart(self) -> Figure:
        return bar_chart(self.bars(), "compare.py models")

    def document(self) -> dict[str, Any]:
        rows = [_flatten(parity) for parity in self.results]
        return {"setting": self.config.describe(), "rows": rows}


def _flatten(parity: Parity) -> dict[str, Any]:
    """All of a comparison, in seconds and bytes."""
    return {
        "name": parity.name,
        "shape": " x ".join(map(str, parity.shape)),
        "error.float64": parity.exact,
        **{f"{side}.error.logits": value for side, value in parity.logits.items()},
        **{f"{side}.error.gradients": value for side, value in parity.gradients.items()},
        **{f"{side}.error.losses": value for side, value in parity.losses.items()},
        "note": parity.note,
        **{f"{side}.step": median(times.total) for side, times in parity.times.items()},
        **{f"ratio.{name}": value for name, value in parity.ratio._asdict().items()},
        **{f"{side}.peak": size for side, size in parity.peak.items()},
        **(reference.flatten(parity.reference) if parity.reference else {}),
    }
