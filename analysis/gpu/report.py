"""What was found, as tables: a short text, and Markdown with milliseconds and bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .results import Found

PRECISIONS = "ieee", "tf32", "bf16"
GIB = 1 << 30
MOST = 8  # lines about one part that went wrong; gpu.json has all
OURS, THEIRS = "ours", "torch.nn"
Rows = dict[str, dict[str, Any]]


class Table(NamedTuple):
    title: str
    header: Sequence[str]
    rows: list[list[str]]

    def text(self) -> str:
        lines = [list(self.header), *self.rows]
        widths = [max(len(line[at]) for line in lines) for at in range(len(self.header))]
        aligned = (
            "  ".join(
                cell.rjust(width) if at else cell.ljust(width)
                for at, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )
        return "\n".join([self.title, *aligned])

    def markdown(self) -> str:
        lines = [self.header, ["---", *["---:"] * (len(self.header) - 1)], *self.rows]
        return f"## {self.title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def text(found: dict[str, Found]) -> str:
    """The short one: ratios, and everything that is wrong."""
    parts = [_facts(found), *(table.text() for table in _tables(found)), *_tests(found)]
    return "\n\n".join(part for part in (*parts, "\n".join(_wrong(found))) if part)


def markdown(found: dict[str, Found], command: str) -> str:
    tables = [*_tables(found), *_details(found)]
    parts = [
        "# On a GPU", f"`{command}`", _facts(found), "\n\n".join(_tests(found)),
        *(table.markdown() for table in tables), "\n".join(f"- {w}" for w in _wrong(found)),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def _rows(found: dict[str, Found], part: str) -> Rows:
    """Those that were measured."""
    rows = found[part].rows if part in found else {}
    return {name: row for name, row in rows.items() if "error" not in row}


def _facts(found: dict[str, Found]) -> str:
    rows = _rows(found, "facts")
    plain = {**rows.get("machine", {}), **rows.get("versions", {})}
    words = [f"{key} {value}" for key, value in plain.items() if key != "seconds"]
    words += [f"{name} {row[u]:.3g} {u}" for name, row in rows.items()
              for u in ("TB/s", "TFLOP/s") if u in row]  # fmt: skip
    return ", ".join(words)


def _tests(found: dict[str, Found]) -> list[str]:
    if "tests" not in found:
        return []
    counts = ", ".join(f"{count} {word}" for word, count in found["tests"].tests.items())
    return [f"tests: {counts or 'none ran'} in {found['tests'].seconds:.0f} s"]


def _tables(found: dict[str, Found]) -> list[Table]:
    tables = [_steps(found), _operators(found), _learning(found)]
    return [table for table in tables if table.rows]


def _steps(found: dict[str, Found]) -> Table:
    by_network = _grouped(_rows(found, "steps"), "network")
    lines = []
    for network, by in by_network.items():
        ratios = [_ratio(by[p]["ratio"]) if p in by else "-" for p in PRECISIONS]
        rates = [f"{by[p]['images/s'][OURS]:.0f}" if p in by else "-" for p in PRECISIONS]
        peaks = [_peak_ratio(by[p], by[p]["best"]) if p in by else "-" for p in PRECISIONS]
        lines.append([network, *ratios, *rates, *peaks])
    groups = "time", "images/s", "memory"
    header = ["", *(f"{group} {p}" for group in groups for p in PRECISIONS)]
    return Table("Training step: ours / torch.nn's time and peak memory; our images/s",
                 header, lines)  # fmt: skip


def _operators(found: dict[str, Found]) -> Table:
    lines = []
    for name, by in _operator_rows(found).items():
        pairs = [_best(by.get(p, {}).get("ms", {})) for p in PRECISIONS]
        cells = [_ratio(a / b) if a and b else "-" for a, b in pairs]
        compiled = []
        for p in ("ieee", "bf16"):
            ms = by.get(p, {}).get("ms", {})
            other, ours = ms.get("compiled"), _best(ms)[0]
            compiled.append(_ratio(ours / other) if ours and other else "")
        lines.append([name, *cells, *compiled])
    return Table("Layer, forward and backward: time, ours / torch.nn's, ours / compiled torch's",
                 ["", *PRECISIONS, "compiled ieee", "compiled bf16"], lines)  # fmt: skip


def _learning(found: dict[str, Found]) -> Table:
    rows = [
        [row["network"], *(f"{row[side]['test_accuracy']:.2%}" for side in ("custom", "torch"))]
        for row in _rows(found, "learning").values()
    ]
    return Table("Test accuracy on digits", ["", OURS, THEIRS], rows)


def _details(found: dict[str, Found]) -> list[Table]:
    steps = [
        [row["network"], row["precision"], name, f"{ms:.2f}",
         f"{row['peak'][name] / GIB:.2f}", f"{row['losses'][name]:.6f}"]
        for row in _rows(found, "steps").values() for name, ms in row["ms"].items()
    ]  # fmt: skip
    layers = [
        [name, precision, side, f"{ms:.3f}", f"{row['peak'][side] / GIB:.3f}"]
        for name, by in _operator_rows(found).items() for precision, row in by.items()
        for side, ms in row["ms"].items()
    ]  # fmt: skip
    kinds = [[name, by[next(iter(by))]["layer"]] for name, by in _operator_rows(found).items()]
    tables = [
        Table("Training steps in full", ["", "", "", "ms", "GiB", "second loss"], steps),
        Table("Layers in full", ["", "", "", "ms", "GiB"], layers),
        Table("The layers", ["", ""], kinds),
    ]
    return [table for table in tables if table.rows]


def _operator_rows(found: dict[str, Found]) -> dict[str, dict[str, Any]]:
    """By layer, then by precision; the compiled one's figures beside the others."""
    merged: Rows = {}
    for row in (*_rows(found, "operators").values(), *_rows(found, "compiled").values()):
        at = merged.setdefault(f"{row['id']}/{row['precision']}", {**row, "ms": {}, "peak": {}})
        at["ms"] |= row["ms"]
        at["peak"] |= row["peak"]
    return _grouped(merged, "id")


def _grouped(rows: Rows, key: str) -> dict[str, dict[str, Any]]:
    groups: dict[str, dict[str, Any]] = {}
    for row in rows.values():
        groups.setdefault(row[key], {})[row["precision"]] = row
    return groups


def _best(ms: dict[str, float]) -> tuple[float | None, float | None]:
    """Ours and what it is compared with, each in its better layout; the snippet has no twin."""
    ours = [value for name, value in ms.items() if name.startswith(OURS)]
    theirs = [value for name, value in ms.items() if name.startswith((THEIRS, "snippet"))]
    return min(ours, default=None), min(theirs, default=None)


def _peak_ratio(row: dict[str, Any], best: dict[str, str]) -> str:
    peaks = [row["peak"][best[side]] for side in (OURS, THEIRS)]
    return _ratio(peaks[0] / peaks[1]) if all(peaks) else "-"


def _ratio(value: float) -> str:
    return f"{value:.2f}"


def _wrong(found: dict[str, Found]) -> list[str]:
    lines = []
    for name, one in found.items():
        lines += [f"{name}: {line}" for line in one.wrong[:MOST]]
        if len(one.wrong) > MOST:
            lines.append(f"{name}: and {len(one.wrong) - MOST} more")
        if one.failure:
            lines += [f"    {line}" for line in list(one.tail)[-5:]]
        if one.not_reached:
            count, first = len(one.not_reached), one.not_reached[0]
            lines.append(f"{name}: {count} of {len(one.plan)} rows not reached, from {first} on")
    return lines
