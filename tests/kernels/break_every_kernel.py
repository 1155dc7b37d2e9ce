"""Write zeros instead of what a kernel computes, for each in turn: does a test fail?

    python tests/kernels/break_every_kernel.py     # a line per kernel; 1 if one is missed

Each is tried in a process of its own, which runs test_table.py of tests/kernels/ or tests/triton/
until the first failure; `pytest -p tests.kernels.break_every_kernel` with
BROKEN_KERNEL=operator/kernel breaks one.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


FUNCTIONS = {  # whose calls reach the operators that begin so
    "conv2d": "conv2d or winograd", "locally": "local-", "max": "max_pool2d",
    "window": "avg_pool2d", "lp": "lp_pool2d", "batch": "batch_norm",
    "local": "local_response_norm",
}  # fmt: skip


def break_one(name):
    from layers.ops.registry import OPERATORS, TABLE

    operator, kernel = name.split("/")
    row = TABLE[operator]
    assert kernel in {each.name for each in row}, f"{operator} has no kernel {kernel}"
    inputs = len(OPERATORS[operator].types)

    def zeros(*arguments):
        for output in arguments[inputs:]:
            output.zero_()

    TABLE[operator] = tuple(
        each._replace(compute=zeros) if each.name == kernel else each for each in row
    )


if "BROKEN_KERNEL" in os.environ:
    break_one(os.environ["BROKEN_KERNEL"])


def run(operator, kernel):
    """The tests of a kernel, until the first failure, while it writes zeros."""
    functions = FUNCTIONS[operator.split("_")[0]]
    broken = os.environ | {"BROKEN_KERNEL": f"{operator}/{kernel}"}
    if kernel == "triton":  # by its interpreter
        tests, broken = "tests/triton/test_table.py", broken | {"TRITON_INTERPRET": "1"}
    else:
        tests = "tests/kernels/test_table.py"
    command = [
        sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p",
        "tests.kernels.break_every_kernel", tests, "-k",
        f"equals_the_definition and not threads and ({functions})",
    ]  # fmt: skip
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=broken)


def main():
    sys.path.insert(0, str(ROOT))
    from layers.ops.registry import TABLE

    missed = 0
    for operator, row in TABLE.items():
        for kernel in row:
            done = run(operator, kernel.name)
            failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
            missed += not failed
            verdict = failed[0].split("::")[1].split(" - ")[0] if failed else "NO TEST FAILS"
            print(f"{operator:<28} {kernel.name:<28} {verdict}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
