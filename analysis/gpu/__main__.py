"""The command: runs the stages in order and writes the results after each."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import report
from .parts import DRY_RUN_SECONDS, MARGIN_SECONDS, PARTS, STAGES, Part, rows_command, tests_command
from .process import run
from .results import PartResult, document

# At its part's deadline, a row is taken to hang if it has been running for this long, or for this
# fraction of the part's time limit, whichever is shorter.
HANG_SECONDS = 45.0
HANG_FRACTION = 0.6


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=".ci/gpu", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path(os.environ.get("OUT", "runs/gpu")),
        help="folder for gpu.json, gpu.md and each part's output; by default $OUT, or runs/gpu",
    )  # fmt: skip
    parser.add_argument(
        "--wheels", type=Path, help="folder of wheels, for packages that this machine lacks"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="PART", choices=[part.name for part in PARTS],
        help=", ".join(f"{part.name}: {part.description}" for part in PARTS),
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true",
        help="everything in small on a CPU, to see whether the script works",
    )  # fmt: skip
    return parser.parse_args()


def install(wheels: Path, folder: str) -> None:
    """Install the wheels into a folder, and put it on the path of every part."""
    files = sorted(map(str, wheels.glob("*.whl")))
    if not files:
        raise SystemExit(f"error: there are no wheels in {wheels}")
    quiet = ["--quiet", "--no-index", "--no-deps", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *quiet, "--target", folder, *files]
    subprocess.run(command, check=True)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([folder, *([before] if before else [])])


def run_part(part: Part, result: PartResult, log: Path, dry: bool) -> None:
    """Run a part until it ends or its time is up.

    If the process dies, the row it was measuring has failed, and a new process measures the
    remaining rows in the remaining time.  A row that is interrupted at the deadline has failed if
    it is taken to hang, or if no row was measured before it; otherwise it was not reached.
    """
    log.unlink(missing_ok=True)
    start = time.monotonic()
    seconds = DRY_RUN_SECONDS if dry else part.seconds
    if part.name == "tests":
        result.failure = run(tests_command(dry), seconds, log, result.test_line) or ""
        if result.failed_tests and result.failure == "exit code 1":
            result.failure = ""  # the failed tests are reported one by one
    else:
        left: float = seconds
        while left > 2 * MARGIN_SECONDS:
            done = [*result.rows]
            result.row_start = time.monotonic()
            failure = run(rows_command(part, left, dry, done), left, log, result.row_line)
            now = time.monotonic()
            left = seconds - (now - start)
            if failure is None:
                break
            if left <= 0:
                hangs = now - result.row_start > min(HANG_SECONDS, HANG_FRACTION * seconds)
                if hangs or not result.rows:
                    result.fail_row(failure)
                break
            reported = list(result.rows.values())[len(done) :]
            if reported and "error" in reported[-1]:
                continue  # its own error ended the process
            if not result.fail_row(failure):
                break
    result.seconds = time.monotonic() - start


def main() -> int:
    options = parse()
    command = shlex.join([".ci/gpu", *sys.argv[1:]])
    options.out.mkdir(parents=True, exist_ok=True)
    if options.dry_run:
        os.environ["OMP_NUM_THREADS"] = "1"  # more do not pay for tiny layers
    results: dict[str, PartResult] = {}
    with tempfile.TemporaryDirectory() as site:
        if options.wheels is not None:
            install(options.wheels, site)
        for stage in STAGES:
            parts = [part for part in stage if not options.only or part.name in options.only]
            results |= {part.name: PartResult() for part in parts}
            with ThreadPoolExecutor() as threads:
                logs = [options.out / f"{part.name}.txt" for part in parts]
                runs = [
                    threads.submit(run_part, part, results[part.name], log, options.dry_run)
                    for part, log in zip(parts, logs, strict=True)
                ]
            for done in runs:
                done.result()  # raises the thread's exception
            (options.out / "gpu.json").write_text(document(results, command))
            (options.out / "gpu.md").write_text(report.markdown(results, command))
            for part in parts:
                seconds = results[part.name].seconds
                print(f"{part.name}: {seconds:.0f} s", file=sys.stderr, flush=True)
    print(report.text(results))
    return 1 if any(result.problems for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
