"""A process with a deadline."""

import sys
import time

import pytest

from analysis.gpu.process import run


def python(code, seconds, folder):
    lines = []
    failure = run([sys.executable, "-uc", code], seconds, folder / "log.txt", lines.append)
    assert (folder / "log.txt").read_text().splitlines() == lines
    return failure, lines


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("print('seen')", None),
        ("print('seen'); raise SystemExit(3)", "exit code 3"),
        ("import os; print('seen'); os.abort()", "ended by SIGABRT"),
        ("import sys; sys.stderr.write('seen')", None),
    ],
)
def test_the_reason_of_a_failure(code, failure, tmp_path):
    assert python(code, 60, tmp_path) == (failure, ["seen"])


def test_its_children_are_killed_at_the_deadline(tmp_path):
    child = f"import time; time.sleep(1.5); open({str(tmp_path / 'late')!r}, 'w')"
    code = (
        f"import subprocess, sys; print('seen'); subprocess.run([sys.executable, '-c', {child!r}])"
    )
    start = time.monotonic()
    failure, lines = python(code, 0.5, tmp_path)
    assert failure == "no end within 0 s"
    assert time.monotonic() - start < 20
    assert lines in (["seen"], [])  # not even started, on a busy machine
    time.sleep(2)
    assert not (tmp_path / "late").exists()
