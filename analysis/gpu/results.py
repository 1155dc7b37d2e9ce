"""Results of the parts, read line by line, and the problems in them."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from . import rows

TAIL_LINES = 40  # kept of a part's output
# The relative difference allowed between the losses after a step; if torch.nn's own losses differ
# between memory formats, up to `MAX_ERROR_RATIO` times that.
LOSS_TOLERANCE = {"ieee": 1e-3, "tf32": 1e-2, "bf16": 1e-1}
MAX_ERROR_RATIO = 20
_COUNTS = re.compile(r"(\d+) (passed|failed|skipped|deselected|errors?)\b")


@dataclass
class PartResult:
    """What a part has measured or tested so far."""

    plan: list[str] = field(default_factory=list)  # names of its rows
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    tests: dict[str, int] = field(default_factory=dict)  # passed, failed, ...
    failed_tests: list[str] = field(default_factory=list)
    failure: str = ""  # why the process failed
    seconds: float = 0.0
    row_start: float = 0.0  # time.monotonic() at the start of the current row
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))

    def row_line(self, line: str) -> None:
        """Read a line from a process that measures rows."""
        message = rows.parse(line)
        if message is None:
            self.tail.append(line)
            return
        self.row_start = time.monotonic()
        if "plan" in message:
            self.plan += [name for name in message["plan"] if name not in self.plan]
        else:
            self.rows[message.pop("row")] = message

    def test_line(self, line: str) -> None:
        """Read a line from pytest."""
        self.tail.append(line)
        if line.startswith(("FAILED ", "ERROR ")):
            self.failed_tests.append(line)
        elif result := re.search(r"::.* (PASSED|FAILED|ERROR)\b", line):
            # Counted one by one: pytest may be killed before it prints its summary.
            word = result[1].lower()
            self.tests[word] = self.tests.get(word, 0) + 1
        elif re.fullmatch(r"=+ .* in [\d.]+s.* =+", line) or re.match(r"\d+ \w+.* in ", line):
            self.tests = {word.rstrip("s"): int(n) for n, word in _COUNTS.findall(line)}

    def fail_row(self, failure: str) -> bool:
        """Record that the process failed, for its current row, or for the part if it has none.

        Returns:
            whether there was a current row.
        """
        if not self.not_reached:
            self.failure = failure
            return False
        self.rows[self.not_reached[0]] = {"error": failure}
        return True

    @property
    def not_reached(self) -> list[str]:
        return [name for name in self.plan if name not in self.rows]

    @property
    def problems(self) -> list[str]:
        """All that failed or differs too much, one line each."""
        lines = [self.failure] if self.failure else []
        lines += [f"{name}: {row['error']}" for name, row in self.rows.items() if "error" in row]
        for name, row in self.rows.items():
            difference = row.get("loss difference")
            if difference is None:
                continue
            bound = max(LOSS_TOLERANCE[row["precision"]], MAX_ERROR_RATIO * row["torch.nn's own"])
            if not difference <= bound:  # also for NaN
                lines.append(f"{name}: losses differ by {difference:.1e} after a step")
        return lines + self.failed_tests

    def to_dict(self) -> dict[str, Any]:
        return {
            "seconds": round(self.seconds, 1), "failure": self.failure, "tests": self.tests,
            "failed tests": self.failed_tests, "not reached": self.not_reached, "rows": self.rows,
            "tail": list(self.tail) if self.problems else [],
        }  # fmt: skip


def document(results: dict[str, PartResult], command: str) -> str:
    """gpu.json, in milliseconds, bytes and relative differences."""
    parts = {name: result.to_dict() for name, result in results.items()}
    return json.dumps({"command": command, "parts": parts}, indent=1) + "\n"
