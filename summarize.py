"""A network in numbers: volumes, weights, multiply-adds, receptive fields, memory.

python summarize.py vgg16
python summarize.py alexnet --explain
python summarize.py "INPUT[3x32x32] -> [CONV3-16 -> RELU -> POOL2]*2 -> FC10"
python summarize.py runs/lenet-mnist --memory 12GB
python summarize.py torchvision.models:densenet121 --batch-size 16 --measure
"""

import contextlib
import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from training import errors
from training.arguments.bounds import check_bounds
from training.arguments.parsing import command_line


@dataclass(frozen=True)
class Options:
    """The chapter's table of VGG, for any network."""

    network: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NETWORK")]
    """A network's name; a layer pattern; a run's folder or a checkpoint; or my_module:MyNet or
    path/to/my_file.py:MyNet, which is imported, and that runs it."""
    image_size: int | None = None
    """Height and width in pixels; by default the network's own, 224 for one of yours."""
    batch_size: int = 1
    """Images, for which work and memory are given."""
    optimizer: Literal["sgd", "nesterov", "adamw"] | None = None
    """Whose state is counted in the memory of a training step; by default sgd's, or that of the one
    that a checkpoint was trained with."""
    dtype: Literal["float32", "float64", "bfloat16", "float16"] | None = None
    """Precision; the half ones as torch.autocast. By default float32, or what a checkpoint was
    trained in."""
    layers: Literal["custom", "torch", "reference"] | None = None
    """Whose layers: ours, torch.nn's, or ours by their plain definitions alone; by default ours, or
    those that a checkpoint was trained with."""
    arguments: Annotated[str, tyro.conf.arg(name="args")] = ""
    """Of the constructor of a network of yours, as "3, num_classes=10"."""
    memory: str | None = None
    """Find the largest batch that fits, such as 12GB or 12GiB."""
    measure: bool = False
    """Compute a training step and a forward pass, and compare their memory with the prediction."""
    json: bool = False
    """Print one JSON object and nothing else."""
    explain: bool = False
    """Print the chapter's formulas with the numbers of this network in them, in place of the memory
    of a step (unless --memory or --measure ask for that)."""


def main() -> None:
    description = (__doc__ or "").split("\n")[0]
    options = command_line(Options, sys.argv[1:], description=description)
    check_bounds(batch_size=options.batch_size, image_size=options.image_size)
    from training.inspection.summarize import (  # torch: not before --help has been answered
        as_json,
        bytes_of,
        print_summary,
        summarize_target,
    )

    available = None if options.memory is None else bytes_of(options.memory)
    predicted = options.json or options.measure or available is not None or not options.explain
    with contextlib.redirect_stdout(sys.stderr):  # what a network of yours prints
        _, summary, memory = summarize_target(
            options.network, layers=options.layers, image_size=options.image_size,
            batch_size=options.batch_size, arguments=options.arguments,
            optimizer=options.optimizer, dtype=options.dtype, available=available,
            measure=options.measure, predicted=predicted,
        )  # fmt: skip
    if options.json and memory is not None:
        print(as_json(summary, memory))
    else:
        print_summary(summary, memory, explained=options.explain)


if __name__ == "__main__":
    errors.run(main)
