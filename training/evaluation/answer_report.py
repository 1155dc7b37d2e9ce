"""The classes of image files, for a person at a terminal and for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..monitor.progress import table
from .classify import Classified

IN_FULL = 12  # of more images only the surest class is shown
WIDEST = 100  # columns: longer bars say no more
PERCENT = 6
ON_THE_SHEET = 99  # images, at most


def printable(words: str) -> str:
    """Names of files and folders may hold what a terminal takes for a command."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in words)


def show(document: dict[str, Any], classified: Sequence[Classified]) -> None:
    """Each image with bars for its surest classes, of many images a line each; what was written.

    In colours on a terminal, without them elsewhere.

    Args:
        document: as `classify_files` returns it.
    """
    console = Console(highlight=False)
    width = min(console.width, WIDEST)
    if len(classified) > IN_FULL:
        _show_a_line_each(console, classified, width)
    else:
        _show_in_full(console, classified, width)
    drawn, csv_file = document["contact_sheet"], document["csv"]
    some = f", the first {ON_THE_SHEET} images" if len(classified) > ON_THE_SHEET else ""
    rows = [
        ("model", f"{document['model']}, {document['layers']} layers"),
        ("weights", document["weights"]),
        ("images", f"{len(classified):,}, skipped {len(document['skipped']):,}"),
        ("contact sheet", drawn + some),
        *([("csv", csv_file)] if csv_file else []),
    ]
    console.print(Text(f"\n{table(rows)}"), soft_wrap=True)


def _show_in_full(console: Console, classified: Sequence[Classified], width: int) -> None:
    names = max(cell_len(printable(name)) for image in classified for name, _ in image.answers)
    names = min(names, width * 2 // 5)
    bar = max(4, width - names - PERCENT - 6)
    for image in classified:
        console.print(Text(printable(str(image.file)), style="bold"), soft_wrap=True)
        grid = _grid(("left", names), ("left", bar), ("right", PERCENT))
        for name, probability in image.answers:
            grid.add_row(Text(printable(name)), _bar(probability, bar), f"{probability:.1%}")
        console.print(Padding.indent(grid, 2))


def _show_a_line_each(console: Console, classified: Sequence[Classified], width: int) -> None:
    surest = [(printable(str(image.file)), *image.answers[0]) for image in classified]
    names = min(max(cell_len(printable(name)) for _, name, _ in surest), width // 4)
    files = min(max(len(file) for file, *_ in surest), (width - names) // 2)
    bar = max(4, width - files - names - PERCENT - 8)
    grid = _grid(("left", files), ("left", names), ("left", bar), ("right", PERCENT))
    for file, name, probability in surest:
        cut = file if len(file) <= files else f"…{file[1 - files :]}"
        grid.add_row(Text(cut), Text(printable(name)), _bar(probability, bar), f"{probability:.1%}")
    console.print(Padding.indent(grid, 2))


def _grid(*columns: tuple[Any, int]) -> Table:
    """A table without lines."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    for justify, width in columns:
        grid.add_column(justify=justify, width=width, no_wrap=True, overflow="ellipsis")
    return grid


def _bar(part: float, width: int) -> ProgressBar:
    return ProgressBar(
        1.0, part, width, style="bright_black", complete_style="cyan", finished_style="cyan"
    )


def as_csv(classified: Sequence[Classified]) -> str:
    """A row for each image: its file, class1, probability1, ... class5, probability5."""
    numbers = range(1, len(classified[0].answers) + 1)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", *(f"{kind}{n}" for n in numbers for kind in ("class", "probability"))])
    for image in classified:
        writer.writerow([str(image.file), *(value for answer in image.answers for value in answer)])
    return text.getvalue()
