"""The command `.ci/gpu`, as a dry run on a CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from analysis.gpu import __main__ as command
from analysis.gpu.parts import Part
from analysis.gpu.results import PartResult

ROOT = Path(__file__).parent.parent.parent.parent


def gpu(*arguments):
    return subprocess.run(
        [ROOT / ".ci/gpu", *arguments], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHON": sys.executable},
    )  # fmt: skip


def test_a_dry_run(tmp_path):
    """Two of the parts; .ci/run runs all of them."""
    done = gpu("--dry-run", "--only", "facts", "compiled", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert list(parts) == ["facts", "compiled"]
    for part in parts.values():
        assert part["rows"]
        assert not part["not reached"]
    assert "## Layers in full" in (tmp_path / "gpu.md").read_text()
    for words in ("torch", "TFLOP/s", "alexnet.norm1"):
        assert words in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_reported(tmp_path):
    done = gpu("--only", "steps", "--out", str(tmp_path))
    assert done.returncode == 1
    assert "steps: lenet/" in done.stdout
    assert "RuntimeError: " in done.stdout


DIES = """
import os, sys
from analysis.gpu import rows
plan = [name for name in "abc" if name not in sys.argv[2:]]
rows.emit({"plan": plan})
for name in plan:
    if name == "b" and sys.argv[1] == "loudly":
        rows.emit({"row": "b", "error": "lost"})
    if name == "b":
        os.abort()
    rows.measure(name, dict)
"""


@pytest.mark.parametrize(("how", "error"), [("silently", "ended by SIGABRT"), ("loudly", "lost")])
def test_a_process_that_dies_costs_one_row(how, error, tmp_path, monkeypatch):
    """A new process measures the remaining rows."""
    monkeypatch.setattr(
        command, "rows_command",
        lambda part, left, dry, done: [sys.executable, "-c", DIES, how, *done],
    )  # fmt: skip
    result = PartResult()
    command.run_part(Part("steps", 120, ""), result, tmp_path / "log.txt", dry=False)
    assert {name: row.get("error") for name, row in result.rows.items()} == {
        "a": None, "b": error, "c": None,
    }  # fmt: skip
    assert result.problems == [f"b: {error}"]


HANGS = """
import time
from analysis.gpu import rows
rows.emit({"plan": ["a", "b"]})
rows.measure("a", dict)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("seconds", "fraction", "problems"),
    [
        (0.5, 1.0, ["b: no end within 6 s"]),
        (60.0, 0.1, ["b: no end within 6 s"]),
        (60.0, 2.0, []),
    ],
)
def test_a_row_that_hangs_has_failed(seconds, fraction, problems, tmp_path, monkeypatch):
    """A row that has just started when the time is up was not reached."""
    monkeypatch.setattr(command, "rows_command", lambda *_: [sys.executable, "-c", HANGS])
    monkeypatch.setattr(command, "MARGIN_SECONDS", 1.0)
    monkeypatch.setattr(command, "HANG_SECONDS", seconds)
    monkeypatch.setattr(command, "HANG_FRACTION", fraction)
    result = PartResult()
    command.run_part(Part("steps", 6, ""), result, tmp_path / "log.txt", dry=False)
    assert result.problems == problems
    assert result.not_reached == ([] if problems else ["b"])


def test_a_process_that_fails_to_start_is_not_restarted(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "rows_command", lambda *_: [sys.executable, "-c", "import absent"])
    result = PartResult()
    command.run_part(Part("steps", 120, ""), result, tmp_path / "log.txt", dry=False)
    assert result.problems == ["exit code 1"]
    assert "No module named 'absent'" in result.tail[-1]
