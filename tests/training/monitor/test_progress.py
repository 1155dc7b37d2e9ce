"""Lines of a run, read by somebody or not."""

import subprocess
import sys
from pathlib import Path

import pytest

from training.monitor import progress
from training.monitor.metrics import Metrics

ROOT = Path(__file__).parents[3]
CODE = """
import sys, time
from pathlib import Path
from training import errors
from training.monitor import progress
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


FULL = """
import resource, signal, sys
from training import errors
from training.monitor import progress
def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    for i in range(200):
        progress.say(f"line {i} " + 50 * "x")
    print("it went on", file=sys.stderr)
errors.run(main)
"""


def test_a_run_goes_on_where_its_lines_do_not_fit(tmp_path):
    with (tmp_path / "out.txt").open("w") as file:
        done = subprocess.run(
            [sys.executable, "-c", FULL], cwd=ROOT, stdout=file, stderr=subprocess.PIPE, text=True,
            check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        "warning: the output cannot be written (File too large); the run goes on", "it went on",
    ]  # fmt: skip


def test_the_time_left_of_the_epoch_and_of_the_run(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY", 0)
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    shown = progress.Progress(range(100), 100, "epoch 1/3", later=200)
    shown.terminal = False
    shown.show(1, loss="1.5")  # ten seconds each
    line = "epoch 1/3  1/100  loss 1.5  990 s left, about 49:50 of the run\n"
    assert capsys.readouterr().out == line


def test_the_speeds_of_loader_and_step_make_up_that_of_both():
    metrics = Metrics(loss=1.0, acc1=0.5, images_per_second=100.0, loader_wait=0.25)
    assert 1 / metrics.step_speed + 1 / metrics.loader_speed == pytest.approx(1 / 100)
    assert metrics.in_detail() == {
        "loss": "1.0000", "acc": "50.00%", "images/s": "100", "step": "133/s", "loader": "400/s",
        "waiting for images": "25%",
    }  # fmt: skip
