"""Writes the results of a comparison to files and to TensorBoard."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import matplotlib
from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

from .table import Table

matplotlib.use("Agg")

TICKS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)  # ratios


class Results(Protocol):
    """The results of a comparison."""

    def tables(self) -> list[Table]: ...

    def document(self) -> dict[str, Any]:
        """Plain values; "setting" is a dictionary, "rows" a list of flat ones."""

    def chart(self) -> Figure: ...

    @property
    def tolerance(self) -> float: ...

    @property
    def failed(self) -> list[str]:
        """Names of what has an error beyond the tolerance."""


class Bar(NamedTuple):
    """One ratio of the chart with its spread; each kind has a colour."""

    name: str
    middle: float
    low: float
    high: float
    kind: str


def bar_chart(rows: Sequence[Bar], title: str) -> Figure:
    """Ratios on a logarithmic scale; to the left of the line at 1, ours is faster."""
    figure = Figure(figsize=(9, 1.6 + 0.22 * len(rows)), layout="constrained")  # inches
    axes = figure.subplots()
    kinds = list(dict.fromkeys(row.kind for row in rows))
    palette = matplotlib.colormaps["tab20"].colors  # type: ignore[attr-defined]
    for kind in kinds:
        of_kind = [(index, row) for index, row in enumerate(rows) if row.kind == kind]
        axes.barh(
            [index for index, _ in of_kind],
            [row.middle - 1 for _, row in of_kind],
            left=1,
            xerr=[
                [row.middle - row.low for _, row in of_kind],
                [row.high - row.middle for _, row in of_kind],
            ],
            color=palette[kinds.index(kind) % len(palette)],
            ecolor="0.4",
            error_kw={"elinewidth": 0.8},
            label=kind,
        )
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    axes.set_xticks([], minor=True)
    axes.set_xlim(
        0.8 * min([1, *(row.low for row in rows)]), 1.25 * max([1, *(row.high for row in rows)])
    )
    axes.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=7)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("time, ours / torch.nn (left of 1: ours is faster)")
    axes.grid(axis="x", linewidth=0.3)
    axes.set_axisbelow(True)
    axes.set_title(title)
    if len(kinds) > 1:
        figure.legend(loc="outside lower center", ncols=4, fontsize=7)
    return figure


def save(
    folder: Path,
    name: str,
    document: dict[str, Any],
    tables: Sequence[Table],
    chart: Figure | None,
) -> list[Path]:
    """Write name.json, name.csv, name.png and TensorBoard's events.

    Args:
        document: plain values; its "rows" are flat dictionaries and become the CSV.
    Returns:
        the paths of the JSON, the CSV and the PNG.
    """
    folder.mkdir(parents=True, exist_ok=True)
    step = len(list(folder.glob("events.out.tfevents.*")))  # keeps earlier comparisons visible
    paths = [folder / f"{name}.json", folder / f"{name}.csv"]
    paths[0].write_text(json.dumps(document, indent=2) + "\n")
    rows = document["rows"]
    with paths[1].open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    with SummaryWriter(str(folder)) as board:
        board.add_text(name, "\n".join(table.markdown() for table in tables), step)
        if chart is not None:
            paths.append(folder / f"{name}.png")
            chart.savefig(paths[2], dpi=120)
            board.add_figure(f"{name}/chart", chart, step)
    return paths
