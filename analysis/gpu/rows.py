"""Runs inside a part's process: measures its rows in order and emits each as a line of JSON.

A part is a module with

    rows(device, tiny) -> [(name, measure), ...]        measure() -> plain values

The first line is the plan, so that the reader knows which row a process was measuring when it died.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import time
import traceback
from collections.abc import Callable
from typing import Any

MARK = "@"  # starts a line of JSON
Row = tuple[str, Callable[[], dict[str, Any]]]


def emit(message: dict[str, Any]) -> None:
    print(f"\n{MARK}{json.dumps(message)}", flush=True)


def parse(line: str) -> dict[str, Any] | None:
    """The message in a line; None for other output."""
    try:
        message = json.loads(line[1:]) if line.startswith(MARK) else None
    except ValueError:
        return None
    return message if isinstance(message, dict) else None


def measure(name: str, row: Callable[[], dict[str, Any]]) -> None:
    """Measure a row and emit it; an exception becomes its "error".

    Raises:
        RuntimeError: the device is in an error state and cannot be used by this process.
    """
    start = time.monotonic()
    try:
        found = row()
    except Exception as error:
        traceback.print_exc()
        found = {"error": error_line(error)}
    emit({"row": name, **found, "seconds": round(time.monotonic() - start, 2)})
    gc.collect()
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()  # raises, like every later call, after an illegal access
        torch.cuda.empty_cache()


def error_line(error: Exception) -> str:
    """An exception as one line."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:300]}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("part")
    parser.add_argument("--until", type=float, required=True)  # seconds since 1970
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--skip", nargs="*", default=[])
    options = parser.parse_args()
    rows = importlib.import_module(f"{__package__}.{options.part}").rows
    plan = [row for row in rows(options.device, options.tiny) if row[0] not in options.skip]
    emit({"plan": [name for name, _ in plan]})
    for name, row in plan:
        if time.time() > options.until:
            break
        measure(name, row)


if __name__ == "__main__":
    main()
