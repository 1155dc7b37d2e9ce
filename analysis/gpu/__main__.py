"""The command: stage after stage, and after each what has been found so far."""

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
from .parts import DRY_SECONDS, FINISH, PARTS, STAGES, Part, rows_command, tests_command
from .process import run
from .results import Found, document


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
        help=", ".join(f"{part.name}: {part.what}" for part in PARTS),
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true",
        help="everything in small on a CPU, to see whether the script works",
    )  # fmt: skip
    return parser.parse_args()


def install(wheels: Path, folder: str) -> None:
    """Unpack the wheels, and let every part import them."""
    files = sorted(map(str, wheels.glob("*.whl")))
    if not files:
        raise SystemExit(f"error: there are no wheels in {wheels}")
    quiet = ["--quiet", "--no-index", "--no-deps", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *quiet, "--target", folder, *files]
    subprocess.run(command, check=True)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([folder, *([before] if before else [])])


def answer(part: Part, found: Found, log: Path, dry: bool) -> None:
    """Run a part to its end or to its deadline.

    Where a process dies at a row, that row has failed, and another process takes up what follows,
    if there is time.  A row at which the time is over was not reached.
    """
    log.unlink(missing_ok=True)
    start = time.monotonic()
    seconds = DRY_SECONDS if dry else part.seconds
    if part.name == "tests":
        found.failure = run(tests_command(dry), seconds, log, found.test_line) or ""
        if found.failed_tests and found.failure == "exit code 1":
            found.failure = ""  # they tell why themselves
    else:
        left: float = seconds
        while left > 2 * FINISH:
            done = [*found.rows]
            failure = run(rows_command(part, left, dry, done), left, log, found.row_line)
            left = seconds - (time.monotonic() - start)
            in_time = left > 0 or not found.rows
            if failure is None or not in_time or not found.blame(failure, len(done)):
                break
    found.seconds = time.monotonic() - start


def main() -> int:
    options = parse()
    command = shlex.join([".ci/gpu", *sys.argv[1:]])
    options.out.mkdir(parents=True, exist_ok=True)
    if options.dry_run:
        os.environ["OMP_NUM_THREADS"] = "1"  # tiny layers do not pay for more
    found: dict[str, Found] = {}
    with tempfile.TemporaryDirectory() as site:
        if options.wheels is not None:
            install(options.wheels, site)
        for stage in STAGES:
            parts = [part for part in stage if not options.only or part.name in options.only]
            found |= {part.name: Found() for part in parts}
            with ThreadPoolExecutor() as threads:
                logs = [options.out / f"{part.name}.txt" for part in parts]
                answers = [
                    threads.submit(answer, part, found[part.name], log, options.dry_run)
                    for part, log in zip(parts, logs, strict=True)
                ]
            for done in answers:
                done.result()  # or the exception
            (options.out / "gpu.json").write_text(document(found, command))
            (options.out / "gpu.md").write_text(report.markdown(found, command))
            for part in parts:
                print(f"{part.name}: {found[part.name].seconds:.0f} s", file=sys.stderr, flush=True)
    print(report.text(found))
    wrong = [line for one in found.values() for line in one.wrong]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
