"""Evaluate a checkpoint on images it was not trained on, or classify image files.

python evaluate.py runs/lenet-mnist
python evaluate.py runs/lenet-mnist --layers torch --json
python evaluate.py runs/lenet-mnist --image-size 36 --dense
python evaluate.py runs/lenet-mnist seven.png photographs/
python evaluate.py --model resnet50 --weights imagenet cat.jpg
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from training import errors
from training.arguments.bounds import check_bounds
from training.arguments.parsing import command_line
from training.memory.malloc import keep_freed_memory
from training.recipes import RECIPES

RUN = tyro.conf.arg(metavar="RUN", help_behavior_hint="")
IMAGES = tyro.conf.arg(metavar="[IMAGE|FOLDER ...]", help_behavior_hint="")


@dataclass(frozen=True)
class Options:
    """Accuracy, loss, calibration, per-class table, confusion matrix and speed of a checkpoint; of
    image files the five surest classes, and a contact sheet."""

    run: Annotated[Path | None, tyro.conf.Positional, RUN] = None
    """A run's folder, for its best.pt, or a checkpoint; none with --model."""
    images: Annotated[tuple[Path, ...], tyro.conf.Positional, IMAGES] = ()
    """Classify these instead: image files, and folders of them."""
    model: str | None = None
    """Classify images without a run: a network by its name, or a layer pattern."""
    weights: str | None = None
    """Those of --model: imagenet (torchvision's), or a file of weights."""
    invert: bool = False
    """Swap light and dark in image files, as of ink on paper for a network that knows MNIST."""
    output: Path | None = None
    """Folder for the contact sheet and the CSV of image files; by default classified/ in the run's
    folder, or in runs/NAME."""
    split: Literal["test", "val"] | None = None
    """Which images: test, the test set, is the default; or val, those held out of the training."""
    compare_layers: bool = False
    """Evaluate with our layers and with torch.nn's, and compare every logit and every answer."""
    image_size: int | None = None
    """Pixels of the images, if they are to be larger than in training: for --crops and --dense; of
    one crop, the centre."""
    crops: Literal[1, 5, 10] = 1
    """The mean over crops: the centre; the corners, too; these and their mirror images."""
    dense: bool = False
    """The mean over every place of the image, in one pass: fully connected layers slide as
    convolutions."""
    shifts: int = 1
    """Passes in each direction for --dense: 2 halve the distance of the places."""
    data: str | None = None
    """Another data set with the same classes; by default the one it was trained on."""
    data_root: Path | None = None
    """Folder of the data set; by default the one it was trained from."""
    layers: Literal["custom", "torch", "reference"] | None = None
    """Whose layers compute: ours, torch.nn's, or ours by their plain definitions alone; by default
    those it was trained with. The weights are the same."""
    batch_size: int = 256
    """Images at a time."""
    device: str = "auto"
    """Where to compute: cpu, cuda, cuda:1, mps, xpu, or any other device of torch's; auto takes an
    accelerator if there is one."""
    memory_format: Literal["auto", "contiguous", "channels_last"] | None = None
    """How images and filters lie in memory, as for train.py; by default as in training."""
    json: bool = False
    """Print one JSON object and nothing else."""


OF_A_SPLIT = (
    "split",
    "compare_layers",
    "image_size",
    "crops",
    "dense",
    "shifts",
    "data",
    "data_root",
)
OF_FILES = ("invert", "output")


def main() -> None:
    description = (__doc__ or "").split("\n")[0]
    options = command_line(Options, sys.argv[1:], description=description)
    check_bounds(
        batch_size=options.batch_size, shifts=options.shifts, image_size=options.image_size
    )
    checkpoint, images = _sources(options)
    keep_freed_memory()
    if images:
        raise SystemExit(_classify(options, checkpoint, images))
    assert checkpoint is not None
    # These import torch: not before --help has been answered.
    from training.evaluation.evaluate_checkpoint import evaluate_checkpoint, report
    from training.evaluation.views import Views

    results = evaluate_checkpoint(
        checkpoint, split=options.split or "test", layers=options.layers, data_name=options.data,
        data_root=options.data_root, batch_size=options.batch_size, device=options.device,
        memory_format=options.memory_format, compare_layers=options.compare_layers,
        views=Views(options.image_size, options.crops, options.dense, options.shifts),
    )  # fmt: skip
    print(report(results, as_json=options.json))


def _sources(options: Options) -> tuple[Path | None, tuple[Path, ...]]:
    """The checkpoint, if any, and the images to be classified.

    Raises:
        UserError: one is missing, or an option is for the other kind of evaluation.
    """
    run, images = options.run, options.images
    if options.model is not None and run is not None:
        images = (run, *images)
    if run is None:
        wanted = "RUN, a run or a checkpoint" if options.model is None else "IMAGE, a file"
        raise errors.UserError(f"missing from evaluate.py: {wanted}; --help lists what there is")
    if options.model is None and str(run) in RECIPES and not run.exists():
        raise errors.UserError(
            f"there is no run {run}: if you mean the network, give --model {run} --weights "
            "imagenet, or a file of weights"
        )
    if (options.weights is None) != (options.model is None):
        raise errors.UserError(
            "--model and --weights go together, as in --model resnet50 --weights imagenet; a run "
            "has both"
        )
    for name in OF_A_SPLIT if images else OF_FILES:
        if getattr(options, name) != getattr(Options, name):
            kinds = ("a whole data set", "image files")
            wrong, right = kinds if images else reversed(kinds)
            raise errors.UserError(f"--{name.replace('_', '-')} is for {wrong}, not for {right}")
    return (run, images) if options.model is None else (None, images)


def _classify(options: Options, checkpoint: Path | None, images: tuple[Path, ...]) -> int:
    """1 if a file had to be left out."""
    from training.checkpoints.files import to_json
    from training.evaluation.answer_report import printable, show
    from training.evaluation.classify_files import classify_files

    document, classified = classify_files(
        images, checkpoint=checkpoint, model=options.model, weights=options.weights,
        layers=options.layers, batch_size=options.batch_size, device=options.device,
        memory_format=options.memory_format, invert=options.invert, output=options.output,
    )  # fmt: skip
    for one in document["skipped"]:
        print(printable(f"skipped {one['file']}: {one['reason']}"), file=sys.stderr)
    if options.json:
        print(to_json(document).rstrip())
    else:
        show(document, classified)
    return 1 if document["skipped"] else 0


if __name__ == "__main__":
    errors.run(main)
