"""Our layers against torch.nn's, in one run.

python compare.py lenet lenet5
"""

import sys
from dataclasses import dataclass
from typing import Annotated

import tyro

from training import errors
from training.memory import keep_freed_memory

TOLERANCE = 1e-4  # relative, in float32


@dataclass(frozen=True)
class Options:
    """Outputs, gradients, twenty training steps, and the time of a step, ours over torch.nn's."""

    models: Annotated[tuple[str, ...], tyro.conf.Positional] = ("lenet", "lenet5")
    """Networks to compare."""
    batch_size: int = 128
    """Images per step."""
    threads: int = 1
    """CPU threads for the timing; torch.utils.benchmark's own default is 1."""
    repetitions: int = 7
    """Of the timing, ours and torch.nn's in turn."""


def main() -> None:
    options = tyro.cli(Options, args=sys.argv[1:], description=__doc__)
    keep_freed_memory()
    from analysis.parity import compare  # imports torch: not before --help has been answered
    from models import MODELS

    for number in ("batch_size", "threads", "repetitions"):
        if getattr(options, number) < 1:
            raise errors.UserError(f"--{number.replace('_', '-')} must be at least 1")
    for name in options.models:
        if name not in MODELS:
            raise errors.unknown("model", name, MODELS)
    print(
        f"{'network':<12}{'logits':>10}{'gradients':>11}{'20 steps':>10}"
        f"{'ours':>11}{'torch.nn':>11}"
        f"{'ratio':>8}{'(lowest to highest)':>22}"
    )
    failed = []
    for name in options.models:
        found = compare(name, options.batch_size, options.threads, options.repetitions)
        ours, theirs = found.milliseconds
        print(
            f"{name:<12}{found.logits:>10.1e}{found.gradients:>11.1e}{found.trajectory:>10.1e}"
            f"{ours:>8.2f} ms{theirs:>8.2f} ms{found.ratio:>8.3f}"
            f"{min(found.ratios):>14.3f} to {max(found.ratios):.3f}"
        )
        if not found.within(TOLERANCE):
            failed.append(name)
    if failed:
        print(f"{', '.join(failed)}: an error exceeds {TOLERANCE:.0e}", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    errors.run(main)
