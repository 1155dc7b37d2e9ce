"""Evaluate a checkpoint on images it was not trained on.

python evaluate.py runs/lenet-mnist/best.pt
python evaluate.py runs/lenet-mnist/best.pt --layers torch --json
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from training import errors
from training.bounds import check_bounds
from training.malloc import keep_freed_memory
from training.parsing import command_line


@dataclass(frozen=True)
class Options:
    """Accuracy, loss, per-class table, confusion matrix and speed of a checkpoint."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """best.pt or last.pt of a run, or the run's folder for its best.pt."""
    split: Literal["test", "val"] = "test"
    """Which images: the test set, or those held out of the training set."""
    layers: Literal["custom", "torch", "reference"] | None = None
    """Whose layers compute: ours, torch.nn's, or ours by their plain definitions alone; by default
    those it was trained with. The weights are the same."""
    data: str | None = None
    """Another data set with the same classes; by default the one it was trained on."""
    data_root: Path | None = None
    """Folder of the data set; by default the one it was trained from."""
    batch_size: int = 256
    """Images at a time."""
    device: str = "auto"
    """Where to compute: cpu, cuda, cuda:1, mps, xpu, or any other device of torch's; auto takes an
    accelerator if there is one."""
    memory_format: Literal["auto", "contiguous", "channels_last"] | None = None
    """How images and filters lie in memory, as for train.py; by default as in training."""
    json: bool = False
    """Print one JSON object and nothing else."""


def main() -> None:
    description = (__doc__ or "").split("\n")[0]
    options = command_line(Options, sys.argv[1:], description=description)
    check_bounds(batch_size=options.batch_size)
    keep_freed_memory()
    from training.evaluate_checkpoint import (  # imports torch: not before --help has been answered
        evaluate_checkpoint,
        report,
    )

    results = evaluate_checkpoint(
        options.checkpoint, split=options.split, layers=options.layers, data_name=options.data,
        data_root=options.data_root, batch_size=options.batch_size, device=options.device,
        memory_format=options.memory_format,
    )  # fmt: skip
    print(report(results, as_json=options.json))


if __name__ == "__main__":
    errors.run(main)
