"""What the parts found, line by line, and whether anything is wrong with it."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from . import rows

TAIL = 40  # last lines that are kept of a part
# The losses after a step may differ by this, relatively, or by some times as much as torch.nn's
# own from one memory layout to the other.
LOSSES = {"ieee": 1e-3, "tf32": 1e-2, "bf16": 1e-1}
AS_THEIRS = 20
_VERDICT = re.compile(r"(\d+) (passed|failed|skipped|deselected|errors?)\b")


@dataclass
class PartResult:
    """What one part has measured or tested so far."""

    plan: list[str] = field(default_factory=list)  # names of its rows
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    tests: dict[str, int] = field(default_factory=dict)  # passed, failed, ...
    failed_tests: list[str] = field(default_factory=list)
    failure: str = ""  # of the process, in a few words
    seconds: float = 0.0
    row_start: float = 0.0  # of the row under way, by time.monotonic
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL))

    def row_line(self, line: str) -> None:
        """A line of a process that measures rows."""
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
        """A line of pytest's."""
        self.tail.append(line)
        if line.startswith(("FAILED ", "ERROR ")):
            self.failed_tests.append(line)
        elif result := re.search(r"::.* (PASSED|FAILED|ERROR)\b", line):
            # Counted as they come: pytest may be ended before it prints its summary.
            word = result[1].lower()
            self.tests[word] = self.tests.get(word, 0) + 1
        elif re.fullmatch(r"=+ .* in [\d.]+s.* =+", line) or re.match(r"\d+ \w+.* in ", line):
            self.tests = {word.rstrip("s"): int(n) for n, word in _VERDICT.findall(line)}

    def fail_row(self, failure: str) -> bool:
        """Record the failure of a process: of the row under way, or of the part if there is none.

        Returns:
            whether there was such a row.
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
    def wrong(self) -> list[str]:
        """Everything that failed or differs too much, a line each."""
        lines = [self.failure] if self.failure else []
        lines += [f"{name}: {row['error']}" for name, row in self.rows.items() if "error" in row]
        for name, row in self.rows.items():
            difference = row.get("loss difference")
            if difference is None:
                continue
            bound = max(LOSSES[row["precision"]], AS_THEIRS * row["torch.nn's own"])
            if not difference <= bound:  # NaN is not
                lines.append(f"{name}: losses differ by {difference:.1e} after a step")
        return lines + self.failed_tests

    def plain(self) -> dict[str, Any]:
        return {
            "seconds": round(self.seconds, 1), "failure": self.failure, "tests": self.tests,
            "failed tests": self.failed_tests, "not reached": self.not_reached, "rows": self.rows,
            "tail": list(self.tail) if self.wrong else [],
        }  # fmt: skip


def document(results: dict[str, PartResult], command: str) -> str:
    """gpu.json: milliseconds, bytes, relative differences."""
    parts = {name: result.plain() for name, result in results.items()}
    return json.dumps({"command": command, "parts": parts}, indent=1) + "\n"
