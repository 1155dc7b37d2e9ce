"""The parts of `.ci/gpu`: their commands and time limits."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

MARGIN_SECONDS = 6.0  # before its deadline, in which a part starts no new row


class Part(NamedTuple):
    name: str  # a module of this package, or "tests"
    seconds: float  # time limit
    description: str


# The parts of a stage run concurrently, so a part that measures times has a stage of its own.
STAGES = (
    (Part("facts", 25, "versions, bandwidth, products"),),
    (
        Part("tests", 70, "the tests marked gpu"),
        Part("learning", 70, "digits learned by both layer sets"),
        Part("kernels", 70, "Triton compiles what the networks need, in several processes"),
    ),
    (Part("steps", 130, "training steps of whole networks"),),
    (Part("operators", 50, "layers, one at a time"),),
    (Part("compiled", 25, "some of them in plain torch, compiled"),),
)
PARTS = tuple(part for stage in STAGES for part in stage)
DRY_RUN_SECONDS = 120  # per part, on a shared CPU


def rows_command(part: Part, seconds: float, dry: bool, done: Sequence[str]) -> list[str]:
    """The command of a part that measures rows (see `rows`), except those already done."""
    until = time.time() + seconds - MARGIN_SECONDS
    device = ["--device", "cpu", "--tiny"] if dry else []
    skip = ["--skip", *done] if done else []
    return [
        sys.executable, "-m", f"{__package__}.rows", part.name, "--until", f"{until:.0f}",
        *device, *skip,
    ]  # fmt: skip


def tests_command(dry: bool) -> list[str]:
    """The command of the tests; warnings are not errors, since other versions emit other ones."""
    chosen = ["tests/gpu", "-k", "cpu and Linear"] if dry else ["-m", "gpu"]
    return [
        sys.executable, "-m", "pytest", "-vv", "--tb=short", "--durations=5", "-rfE",
        "-o", "filterwarnings=default", "-p", "no:cacheprovider", *chosen,
    ]  # fmt: skip
