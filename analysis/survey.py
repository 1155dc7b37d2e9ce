"""`compare.py layers`: the rows of the table measured one after another, and told in tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from . import accuracy
from .benchmark import Measured, grow, measure
from .names import OURS, THEIRS
from .report import Bar, bars
from .setting import Setting
from .shapes import GROWTHS, ROWS, Row
from .table import Table
from .targets import Target, summary
from .timing import Ratio

PARTS = {"forward": "forward", "both": "forward+backward"}
MIB = 1 << 20


@dataclass
class Survey:
    setting: Setting
    found: list[Measured] = field(default_factory=list)
    growths: dict[str, dict[str, Ratio]] = field(default_factory=dict)  # what, then whose

    def run(self, rows: Sequence[Row], tell: Callable[[str], None]) -> None:
        """Measure the rows; how the time grows, too, if they are the whole table."""
        growths = GROWTHS if len(rows) == len(ROWS) else []
        total = len(rows) + len(growths)
        for number, row in enumerate(rows, 1):
            one = measure(row, self.setting)
            self.found.append(one)
            size = " x ".join(map(str, row.shape))
            rival = next(side for side in one.times if side != OURS)
            tell(f"{number}/{total}  {row.id}: {row} on {size}  {one.ratio(rival)} x {rival}")
        for number, growth in enumerate(growths, len(rows) + 1):
            self.growths[growth.what] = ratios = grow(growth, self.setting)
            tell(f"{number}/{total}  conv2d {growth.what}  {ratios[OURS]}")

    @property
    def targets(self) -> list[Target]:
        return summary(self.found, {what: by[OURS] for what, by in self.growths.items()})

    @property
    def tolerance(self) -> float:
        return accuracy.LAYER[self.setting.dtype]

    @property
    def failed(self) -> list[str]:
        """Rows with an error beyond the tolerance."""
        return [one.row.id for one in self.found if not one.within(self.tolerance)]

    def tables(self) -> list[Table]:
        made = [self._errors(), self._times(), self._peers(), self._memory(), self._growth()]
        return [table for table in (*made, self._summary()) if table.rows]

    def _errors(self) -> Table:
        tensors = ("output", "input", "weight", "bias")
        rows = []
        for one in self.found:
            if one.errors:
                cells = [
                    " / ".join(_number(errors.get(tensor)) for errors in one.errors.values())
                    if tensor in one.errors[OURS] else ""
                    for tensor in tensors
                ]  # fmt: skip
                rows.append([one.row.id, *cells, _number(accuracy.worst(one.second))])
        return Table(
            f"Largest relative error against float64, ours / torch.nn's (tolerance "
            f"{self.tolerance:.0e})",
            ["", "output", "by input", "by weight", "by bias", "second"],
            rows,
        )

    def _times(self) -> Table:
        rows = []
        for one in self.found:
            if THEIRS in one.times:
                cells = [one.row.id]
                for part in PARTS:
                    cells += [_milliseconds(one, OURS, part), _milliseconds(one, THEIRS, part)]
                    cells.append(str(one.ratio(THEIRS, part)))
                rows.append(cells)
        return Table(
            "Milliseconds, ours and torch.nn's; ratio (spread over the rounds)",
            ["", "forward", "torch.nn", "ratio", "with backward", "torch.nn", "ratio"],
            rows,
        )

    def _peers(self) -> Table:
        return Table(
            "What one would use instead: milliseconds, forward and backward",
            ["", "ours", "theirs", "ratio"],
            [
                [
                    f"{one.row.id} / {peer}", _milliseconds(one, OURS, "both"),
                    _milliseconds(one, peer, "both"), str(one.ratio(peer)),
                ]
                for one in self.found
                for peer in one.row.peers
                if peer in one.times
            ],
        )  # fmt: skip

    def _memory(self) -> Table:
        rows = []
        for one in self.found:
            ours, theirs = one.peak[OURS], one.peak.get(THEIRS)
            cells = [one.row.id, _mib(ours), _mib(theirs), f"{ours / theirs:.2f}" if theirs else ""]
            for at in (0, 1):
                cells += [
                    _mib(one.kept[side][at] if side in one.kept else None)
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
            [[what, str(by[OURS]), str(by[THEIRS])] for what, by in self.growths.items()],
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
        """Forward and backward, every row that torch.nn has."""
        pairs = [(one, one.ratio()) for one in self.found]
        return [
            Bar(one.row.id, *ratio, one.row.group or one.row.layer) for one, ratio in pairs if ratio
        ]

    def chart(self) -> Figure:
        return bars(self.bars(), "compare.py layers")

    def document(self) -> dict[str, Any]:
        return {
            "setting": self.setting.describe(),
            "targets": [line._asdict() for line in self.targets],
            "growth": {
                what: {side: ratio._asdict() for side, ratio in by.items()}
                for what, by in self.growths.items()
            },
            "rows": [_flat(one) for one in self.found],
        }


def _flat(one: Measured) -> dict[str, Any]:
    """Everything about a row under names such as torch.nn.error.weight; bytes and seconds."""
    row = one.row
    flat: dict[str, Any] = {"id": row.id, "layer": str(row), "group": row.group}
    flat["shape"] = " x ".join(map(str, row.shape))
    for side, errors in one.errors.items():
        flat |= {f"{side}.error.{tensor}": value for tensor, value in errors.items()}
    flat |= {f"{OURS}.second_error.{tensor}": value for tensor, value in one.second.items()}
    for side, times in one.times.items():
        for part, name in PARTS.items():
            flat[f"{side}.{name}"] = median(getattr(times, part))
            ratio = one.ratio(side, part)
            if side != OURS and ratio is not None:
                flat |= {f"{side}.{name}.{key}": value for key, value in ratio._asdict().items()}
    flat |= {f"{side}.peak": value for side, value in one.peak.items()}
    for side, (kept, with_input) in one.kept.items():
        flat |= {f"{side}.kept": kept, f"{side}.kept_with_input": with_input}
    return flat


def _number(error: float | None) -> str:
    return "-" if error is None else f"{error:.0e}" if error else "0"


def _or_blank(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.3g}"


def _milliseconds(one: Measured, side: str, part: str) -> str:
    return f"{median(getattr(one.times[side], part)) * 1e3:.2f}"


def _mib(size: float | None) -> str:
    return "" if size is None else f"{size / MIB:.1f}"
