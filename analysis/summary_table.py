"""A summary as text: as many columns as there is room for, branches indented."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .notation import volume
from .receptive_field import Pair
from .summary import Row, Summary

GAP = 2  # characters between columns
UNKNOWN = "?"


class Column(NamedTuple):
    head: str
    cell: Callable[[Row], str]
    rank: int  # those of the highest rank go first, where there is no room
    style: str = ""


def _numbers(n: int | None) -> str:
    return UNKNOWN if n is None else f"{n:,}" if n else ""


COLUMNS = (
    Column("volume", lambda row: row.volume, 0, "cyan"),
    Column("weights", lambda row: _weights(row), 3),
    Column("parameters", lambda row: _numbers(row.parameters), 1, "green"),
    Column("MACs", lambda row: count(row.macs), 1),
    Column("FLOPs", lambda row: count(None if row.macs is None else 2 * row.macs), 6),
    Column(
        "backward",
        lambda row: count(None if row.backward_macs is None else 2 * row.backward_macs),
        7,
    ),
    Column("activations", lambda row: size(row.call.nbytes), 5, "magenta"),
    Column("kept", lambda row: size(row.call.saved), 4, "magenta"),
    Column("field", lambda row: _axis(row, "size"), 2, "yellow"),
    Column("stride", lambda row: _axis(row, "stride"), 8),
    Column("offset", lambda row: _axis(row, "offset"), 9),
)


def show(summary: Summary, console: Console) -> None:
    """Print the table and its sums, as wide as the console."""
    lines = [*_lines(summary)]
    cells = [[column.cell(row) if row else "" for column in COLUMNS] for *_, row in lines]
    first = max(cell_len(label) for label, *_ in lines)
    second = max(cell_len(word) for _, word, _ in lines)
    widths = [
        max(len(column.head), *(cell_len(row[i]) for row in cells))
        for i, column in enumerate(COLUMNS)
    ]
    room = console.width - first - second - GAP
    shown = set[int]()
    for i in sorted(range(len(COLUMNS)), key=lambda i: COLUMNS[i].rank):
        if widths[i] + GAP > room:
            break
        shown.add(i)
        room -= widths[i] + GAP
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("layer", no_wrap=True)
    table.add_column("", no_wrap=True)
    for i in sorted(shown):
        column = COLUMNS[i]
        table.add_column(column.head, justify="right", style=column.style, no_wrap=True)
    for (label, word, row), row_cells in zip(lines, cells, strict=True):
        kind = Text(word, style="" if row else "dim")
        table.add_row(
            Text(label, style="" if row else "dim"), kind, *(row_cells[i] for i in sorted(shown))
        )
    console.print(Text(title(summary), style="bold"))
    console.print()
    console.print(table)
    console.print()
    for name, value in totals(summary):
        console.print(Text(f"  {name:<16}{value}"), soft_wrap=True)
    hidden = [COLUMNS[i].head for i in range(len(COLUMNS)) if i not in shown]
    if hidden:
        console.print(
            Text(f"\n  not shown for lack of room: {', '.join(hidden)}", style="dim"),
            soft_wrap=True,
        )


def title(summary: Summary) -> str:
    batch, *image = summary.shape
    images = f"{batch} image{'s' * (batch > 1)} of {' x '.join(map(str, image))}"
    return f"{summary.name}, {summary.layers} layers, {images}, {summary.dtype}"


def _lines(summary: Summary) -> Iterator[tuple[str, str, Row | None]]:
    """Label, word and row of each line; the modules that hold layers have a line without a row."""
    yield "input", volume(summary.shape), None
    around: tuple[str, ...] = ()
    for row in summary.rows:
        path = row.call.path
        shared = 0
        while shared < min(len(around), len(path)) and around[shared] == path[shared]:
            shared += 1
        for depth in range(shared, len(path)):
            outer = path[depth - 1] if depth else ""
            yield "  " * depth + path[depth][len(outer) :].lstrip("."), "", None
        around = path
        label = row.name[len(path[-1]) + 1 :] if path else row.name
        yield "  " * len(path) + label + " *" * (not row.in_evaluation), row.word, row


def totals(summary: Summary) -> list[tuple[str, str]]:
    """Names and values of the sums."""
    inference, heads = summary.evaluated, len(summary.rows) - len(summary.evaluated)
    forward = summary.total("macs", inference)
    step = 2 * (summary.total("macs") + summary.total("backward_macs"))
    least = "at least " if summary.unknown else ""
    per = f" for {summary.shape[0]} images" if summary.shape[0] > 1 else ""
    rows = [
        ("parameters", f"{summary.parameters:,}" + _trained(summary)),
        (
            "inference",
            f"{least}{count(forward)} multiply-adds (MACs) = {count(2 * forward)} FLOPs{per}",
        ),
        ("training step", f"{least}{count(step)} FLOPs{per}, forward and backward"),
        ("activations", f"{size(summary.activation_bytes)}, every layer's output"),
        ("kept", f"{size(summary.saved_bytes)} of activations, for the backward pass"),
    ]
    if heads:
        evaluated = summary.total("parameters", inference)
        rows.append(("*", f"in training only; evaluation takes {evaluated:,} parameters"))
    if summary.unknown:
        rows.append(("unknown", f"{', '.join(summary.unknown)}: not in the sums"))
    return rows


def _trained(summary: Summary) -> str:
    frozen = summary.trained < summary.parameters
    return f", {summary.trained:,} of them trained" if frozen else ""


def _weights(row: Row) -> str:
    if not row.weights:
        return ""
    return (f"{row.weight_product} = " if row.weight_product else "") + f"{row.weights:,}"


def _axis(row: Row, what: str) -> str:
    if row.receptive_field is None:
        return UNKNOWN
    return by(getattr(row.receptive_field, what))


def by(pair: Pair) -> str:
    """One number for both axes, or both: 11, 11x7."""
    return f"{pair[0]}" if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"


def count(n: int | None) -> str:
    """Three significant digits: 86.7 M."""
    if n is None:
        return UNKNOWN
    for power, letter in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if n >= 10**power:
            value = n / 10**power
            return f"{value:.{max(0, 3 - len(str(int(value))))}f} {letter}"
    return f"{n}" if n else ""


def size(n: int | None) -> str:
    """Bytes, in powers of 1024."""
    if n is None:
        return UNKNOWN
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if n >= 1024**power:
            return f"{n / 1024**power:.1f} {unit}"
    return f"{n} B" if n else ""


def text(summary: Summary, width: int = 200) -> str:
    """The table without colours."""
    written = io.StringIO()
    console = Console(file=written, width=width, color_system=None, force_jupyter=False)
    show(summary, console)  # a notebook would be written to, too
    return "".join(f"{line.rstrip()}\n" for line in written.getvalue().splitlines())
