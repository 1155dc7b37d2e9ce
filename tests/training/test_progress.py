"""Lines of a run, read by somebody or not."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
CODE = """
import sys, time
from pathlib import Path
from training import errors, progress
def main():
    progress.log_to(Path(sys.argv[1]))
    for i in range(2000):
        progress.say(f"line {i} " + 50 * "x")
    print("it went on", file=sys.stderr)
errors.run(main)
"""


@pytest.mark.parametrize("reader", ["| head -n 1", ">&-"])
def test_a_run_goes_on_when_nobody_reads_its_lines(tmp_path, reader):
    log = tmp_path / "log.txt"
    command = f'"$0" -c "$1" {log} {reader}'
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}", sys.executable, CODE], cwd=ROOT,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("it went on\n")
    assert done.stderr.count("nobody reads the output; the run goes on") == ("head" in reader)
    assert len(log.read_text().splitlines()) == 2000
