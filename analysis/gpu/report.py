"""Results as tables: a short text, and Markdown with milliseconds and bytes."""

from __future__ import annotations

from typing import Any

from ..names import OURS, PRECISIONS, THEIRS
from ..table import Table
from .results import PartResult

GIB = 1 << 30
MAX_PROBLEMS = 8  # shown per part; gpu.json has all
Rows = dict[str, dict[str, Any]]


def text(results: dict[str, PartResult]) -> str:
    """The summary: ratios, and all problems."""
    tables = [table.text().strip() for table in _tables(results)]
    parts = [_facts(results), *tables, *_tests(results)]
    return "\n\n".join(part for part in (*parts, "\n".join(_problems(results))) if part)


def markdown(results: dict[str, PartResult], command: str) -> str:
    tables = [*_tables(results), *_details(results)]
    parts = [
        "# On a GPU", f"`{command}`", _facts(results), "\n\n".join(_tests(results)),
        *(table.markdown().strip() for table in tables),
        "\n".join(f"- {line}" for line in _problems(results)),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def _rows(results: dict[str, PartResult], part: str) -> Rows:
    """The rows of a part that were measured."""
    rows = results[part].rows if part in results else {}
    return {name: row for name, row in rows.items() if "error" not in row}


def _facts(results: dict[str, PartResult]) -> str:
    rows = _rows(results, "facts")
    plain = {**rows.get("machine", {}), **rows.get("versions", {})}
    words = [f"{key} {value}" for key, value in plain.items() if key != "seconds"]
    words += [f"{name} {row[u]:.3g} {u}" for name, row in rows.items()
              for u in ("TB/s", "TFLOP/s") if u in row]  # fmt: skip
    return ", ".join(words)


def _tests(results: dict[str, PartResult]) -> list[str]:
    if "tests" not in results:
        return []
    counts = ", ".join(f"{count} {word}" for word, count in results["tests"].tests.items())
    return [f"tests: {counts or 'none ran'} in {results['tests'].seconds:.0f} s"]


def _tables(results: dict[str, PartResult]) -> list[Table]:
    tables = [_steps(results), _operators(results), _learning(results)]
    return [table for table in tables if table.rows]


def _steps(results: dict[str, PartResult]) -> Table:
    by_network = _grouped(_rows(results, "steps"), "network")
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


def _operators(results: dict[str, PartResult]) -> Table:
    lines = []
    for name, by in _operator_rows(results).items():
        pairs = [_best(by.get(p, {}).get("ms", {})) for p in (*PRECISIONS, "tf32x3")]
        cells = [_ratio(a / b) if a and b else "-" for a, b in pairs]
        compiled = []
        for p in ("ieee", "bf16"):
            ms = by.get(p, {}).get("ms", {})
            other, ours = ms.get("compiled"), _best(ms)[0]
            compiled.append(_ratio(ours / other) if ours and other else "")
        lines.append([name, *cells, *compiled])
    return Table("Layer, forward and backward: time, ours / torch.nn's, ours / compiled torch's",
                 ["", *PRECISIONS, "tf32x3 / ieee", "compiled ieee", "compiled bf16"],
                 lines)  # fmt: skip


def _learning(results: dict[str, PartResult]) -> Table:
    rows = [
        [row["network"], *(f"{row[side]['test_accuracy']:.2%}" for side in ("custom", "torch"))]
        for row in _rows(results, "learning").values()
    ]
    return Table("Test accuracy on digits", ["", OURS, THEIRS], rows)


def _details(results: dict[str, PartResult]) -> list[Table]:
    steps = [
        [row["network"], row["precision"], name, f"{ms:.2f}",
         f"{row['peak'][name] / GIB:.2f}", f"{row['losses'][name]:.6f}"]
        for row in _rows(results, "steps").values() for name, ms in row["ms"].items()
    ]  # fmt: skip
    layers = [
        [name, precision, side, f"{ms:.3f}", f"{row['peak'][side] / GIB:.3f}"]
        for name, by in _operator_rows(results).items() for precision, row in by.items()
        for side, ms in row["ms"].items()
    ]  # fmt: skip
    kinds = [[name, by[next(iter(by))]["layer"]] for name, by in _operator_rows(results).items()]
    tables = [
        Table("Training steps in full", ["", "", "", "ms", "GiB", "second loss"], steps),
        Table("Layers in full", ["", "", "", "ms", "GiB"], layers),
        Table("The layers", ["", ""], kinds),
    ]
    return [table for table in tables if table.rows]


def _operator_rows(results: dict[str, PartResult]) -> dict[str, dict[str, Any]]:
    """By layer, then by precision, together with the figures of the compiled one."""
    merged: Rows = {}
    for row in (*_rows(results, "operators").values(), *_rows(results, "compiled").values()):
        key = f"{row['id']}/{row['precision']}"
        both = merged.setdefault(key, {**row, "ms": {}, "peak": {}})
        both["ms"] |= row["ms"]
        both["peak"] |= row["peak"]
    return _grouped(merged, "id")


def _grouped(rows: Rows, key: str) -> dict[str, dict[str, Any]]:
    groups: dict[str, dict[str, Any]] = {}
    for row in rows.values():
        groups.setdefault(row[key], {})[row["precision"]] = row
    return groups


def _best(ms: dict[str, float]) -> tuple[float | None, float | None]:
    """Ours and torch.nn's (or the snippet, without a twin), each in its better memory format."""
    ours = [value for name, value in ms.items() if name.startswith(OURS)]
    theirs = [value for name, value in ms.items() if name.startswith((THEIRS, "snippet"))]
    return min(ours, default=None), min(theirs, default=None)


def _peak_ratio(row: dict[str, Any], best: dict[str, str]) -> str:
    peaks = [row["peak"][best[side]] for side in (OURS, THEIRS)]
    return _ratio(peaks[0] / peaks[1]) if all(peaks) else "-"


def _ratio(value: float) -> str:
    return f"{value:.2f}"


def _problems(results: dict[str, PartResult]) -> list[str]:
    lines = []
    for name, result in results.items():
        lines += [f"{name}: {line}" for line in result.problems[:MAX_PROBLEMS]]
        if len(result.problems) > MAX_PROBLEMS:
            lines.append(f"{name}: and {len(result.problems) - MAX_PROBLEMS} more")
        if result.failure:
            lines += [f"    {line}" for line in list(result.tail)[-5:]]
        if result.not_reached:
            count, first = len(result.not_reached), result.not_reached[0]
            lines.append(f"{name}: {count} of {len(result.plan)} rows not reached, from {first} on")
    return lines
