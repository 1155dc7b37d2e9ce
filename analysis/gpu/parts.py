"""The parts of `.ci/gpu`: what each asks, the command that answers, and how long it may take."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

FINISH = 6.0  # seconds before its deadline by which a part means to be done


class Part(NamedTuple):
    name: str  # a module of this package, or "tests"
    seconds: float  # after which its process is ended
    what: str


# Parts of a stage run side by side; one that takes times is alone with the GPU.
STAGES = (
    (Part("facts", 25, "versions, bandwidth, products"),),
    (
        Part("tests", 70, "the tests marked gpu"),
        Part("learning", 70, "digits learned by both layer sets"),
    ),
    (Part("steps", 130, "training steps of whole networks"),),
    (Part("operators", 50, "layers, one at a time"),),
    (Part("compiled", 25, "some of them in plain torch, compiled"),),
)
PARTS = tuple(part for stage in STAGES for part in stage)
DRY_SECONDS = 120  # of each part, on a CPU that others use too


def rows_command(part: Part, seconds: float, dry: bool, done: Sequence[str]) -> list[str]:
    """The process of a part that measures row after row (see `rows`), without those done."""
    until = time.time() + seconds - FINISH
    device = ["--device", "cpu", "--tiny"] if dry else []
    skip = ["--skip", *done] if done else []
    return [
        sys.executable, "-m", f"{__package__}.rows", part.name, "--until", f"{until:.0f}",
        *device, *skip,
    ]  # fmt: skip


def tests_command(dry: bool) -> list[str]:
    """pytest; warnings are only shown, because other versions warn of other things."""
    chosen = ["tests/gpu", "-k", "cpu and Linear"] if dry else ["-m", "gpu"]
    return [
        sys.executable, "-m", "pytest", "-vv", "--tb=short", "--durations=5", "-rfE",
        "-o", "filterwarnings=default", "-p", "no:cacheprovider", *chosen,
    ]  # fmt: skip
