"""`compare.py layers`: measures the rows of the table in order, and reports them in tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from . import accuracy, reference
from .benchmark import Measurement, measure, measure_growth
from .benchmark_config import BenchmarkConfig
from .names import OURS, REFERENCE, THEIRS
from .report import Bar, bar_chart
from .shapes import GROWTHS, ROWS, Row
from .table import Table
from .targets import Target, summary
from .timing import Ratio

PASSES = {"forward": "forward", "total": "forward+backward"}  # fields of Times, and their names
MIB = 1 << 20


@dataclass
class LayerBenchmark:
    config: BenchmarkConfig
    measurements: list[Measurement] = field(default_factory=list)
    growths: dict[str, dict[str, Ratio]] = field(default_factory=dict)  # by name, then by side

    def run(self, rows: Sequence[Row], log: Callable[[str], None]) -> None:
        """Measure the rows and, if they are the whole table, how the time grows with the input."""
        growths = GROWTHS if len(rows) == len(ROWS) else []
        total, start = len(rows) + len(growths), time.monotonic()
        for number, row in enumerate(rows, 1):
            m = measure(row, self.config)
            self.measurements.append(m)
            size = " x ".join(map(str, row.shape))
            baseline = next(side for side in m.times if side != OURS)
            left = (time.monotonic() - start) / number * (total - number)
            log(
                f"{number}/{total}  {row.id}: {row} on {size}  {m.ratio(baseline)} x {baseline}  "
                f"{left:.0f} s left"
            )
        for number, growth in enumerate(growths, len(rows) + 1):
            self.growths[growth.name] = ratios = measure_growth(growth, self.config)
            log(f"{number}/{total}  conv2d {growth.name}  {ratios[OURS]}")

    @property
    def targets(self) -> list[Target]:
        return summary(self.measurements, {name: by[OURS] for name, by in self.growths.items()})

    @property
    def tolerance(self) -> float:
        return accuracy.LAYER_TOLERANCE[self.config.dtype]

    @property
    def failed(self) -> list[str]:
        """Rows with an error beyond the tolerance."""
        return [m.row.id for m in self.measurements if not m.within(self.tolerance)]

    def tables(self) -> list[Table]:
        tables = [
            self._errors(), self._times(), self._baselines(), self._reference(), self._memory(),
            self._growth(), self._summary(),
        ]  # fmt: skip
        return [table for table in tables if table.rows]

    def _errors(self) -> Table:
        tensors = ("output", "input", "weight", "bias")
        rows = []
        for m in self.measurements:
            if m.errors:
                cells = [
                    " / ".join(
                        _format_error(m.errors[side].get(tensor))
                        for side in (OURS, THEIRS) if side in m.errors
                    )
                    if tensor in m.errors[OURS] else ""
                    for tensor in tensors
                ]  # fmt: skip
                rows.append([m.row.id, *cells, _format_error(accuracy.worst(m.second))])
        return Table(
            f"Largest relative error against float64, ours / torch.nn's (tolerance "
            f"{self.tolerance:.0e})",
            ["", "output", "by input", "by weight", "by bias", "second"],
            rows,
        )

    def _times(self) -> Table:
        rows = []
        for m in self.measurements:
            if THEIRS in m.times:
                cells = [m.row.id]
                for part in PASSES:
                    cells += [_milliseconds(m, OURS, part), _milliseconds(m, THEIRS, part)]
                    cells.append(str(m.ratio(THEIRS, part)))
                rows.append(cells)
        return Table(
            "Milliseconds, ours and torch.nn's; ratio (spread over the rounds)",
            ["", "forward", "torch.nn", "ratio", "with backward", "torch.nn", "ratio"],
            rows,
        )

    def _baselines(self) -> Table:
        return Table(
            "What one would use instead: milliseconds, forward and backward",
            ["", "ours", "theirs", "ratio"],
            [
                [
                    f"{m.row.id} / {baseline}", _milliseconds(m, OURS, "total"),
                    _milliseconds(m, baseline, "total"), str(m.ratio(baseline)),
                ]
                for m in self.measurements
                for baseline in m.row.baselines
                if baseline in m.times
            ],
        )  # fmt: skip

    def _reference(self) -> Table:
        return Table(
            "What readability would cost: ours by the definitions in layers/ops/ alone, "
            "milliseconds, forward and backward; ratios; largest relative error",
            [*reference.COLUMNS, "error"],
            [
                [
                    *reference.cells(m.row.id, m.reference),
                    _format_error(accuracy.worst(m.errors[REFERENCE])) if m.errors else "",
                ]
                for m in self.measurements
                if m.reference
            ],
        )  # fmt: skip

    def _memory(self) -> Table:
        rows = []
        for m in self.measurements:
            ours, theirs = m.peak[OURS], m.peak.get(THEIRS)
            cells = [m.row.id, _mib(ours), _mib(theirs), f"{ours / theirs:.2f}" if theirs else ""]
            for index in (0, 1):  # without and with the inputs
                cells += [
                    _mib(m.saved[side][index] if side in m.saved else None)
                    for side in (OURS, THEIRS)
                ]
            rows.append(cells)
        return Table(
            "MiB at the peak of a forward and backward pass, and kept between the two",
            ["", "peak", "torch.nn", "ratio", "kept", "torch.nn", "with input", "torch.nn"],
            rows,
        )

    def _growth(self) -> Table:
        return Table(
            "How conv2d's time grows: 1 is in proportion to the work",
            ["", "ours", "torch.nn"],
            [[name, str(by[OURS]), str(by[THEIRS])] for name, by in self.growths.items()],
        )

    def _summary(self) -> Table:
        return Table(
            "Speed and memory: geometric means of the rows above",
            ["what", "measured", "must reach", "aim", ""],
            [
                [
                    line.what, f"{line.measured:.3g}", _or_blank(line.must),
                    _or_blank(line.aim), "" if line.met else "missed",
                ]
                for line in self.targets
            ],
        )  # fmt: skip

    def bars(self) -> list[Bar]:
        """Time of forward and backward over torch.nn's, for each row that torch.nn has."""
        pairs = [(m.row, m.ratio()) for m in self.measurements]
        return [Bar(row.id, *ratio, row.group or row.layer) for row, ratio in pairs if ratio]

    def chart(self) -> Figure:
        return bar_chart(self.bars(), "compare.py layers")

    def document(self) -> dict[str, Any]:
        return {
            "setting": self.config.describe(),
            "targets": [line._asdict() for line in self.targets],
            "growth": {
                name: {side: ratio._asdict() for side, ratio in by.items()}
                for name, by in self.growths.items()
            },
            "rows": [_flatten(m) for m in self.measurements],
        }


def _flatten(m: Measurement) -> dict[str, Any]:
    """All of a measurement, with keys such as torch.nn.error.weight, in bytes and seconds."""
    row = m.row
    flat: dict[str, Any] = {"id": row.id, "layer": str(row), "group": row.group}
    flat["shape"] = " x ".join(map(str, row.shape))
    for side, errors in m.errors.items():
        flat |= {f"{side}.error.{tensor}": value for tensor, value in errors.items()}
    flat |= {f"{OURS}.second_error.{tensor}": value for tensor, value in m.second.items()}
    for side, times in m.times.items():
        for part, name in PASSES.items():
            flat[f"{side}.{name}"] = median(getattr(times, part))
            ratio = m.ratio(side, part)
            if side != OURS and ratio is not None:
                flat |= {f"{side}.{name}.{key}": value for key, value in ratio._asdict().items()}
    if m.reference:
        flat |= reference.flatten(m.reference)
    flat |= {f"{side}.peak": value for side, value in m.peak.items()}
    for side, (saved, with_input) in m.saved.items():
        flat |= {f"{side}.kept": saved, f"{side}.kept_with_input": with_input}
    return flat


def _format_error(error: float | None) -> str:
    return "-" if error is None else f"{error:.0e}" if error else "0"


def _or_blank(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.3g}"


def _milliseconds(m: Measurement, side: str, part: str) -> str:
    return f"{median(getattr(m.times[side], part)) * 1e3:.2f}"


def _mib(size: float | None) -> str:
    return "" if size is None else f"{size / MIB:.1f}"
