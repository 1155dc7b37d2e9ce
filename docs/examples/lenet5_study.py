"""LeNet-5's study of its training set, repeated (LeCun et al. 1998, section III, figures 5 to 8).

    python docs/examples/lenet5_study.py --data-root DIR --logdir runs/lenet5-study

Trains `lenet5` on 15,000, 30,000 and 54,000 images of MNIST, with and without distortions, for the
same number of steps; draws the test error against the number of images; and shows every test image
that the best network mistakes.  The paper has 15,000, 30,000 and 60,000 images; here the others are
for validation, 6,000 at the least.  A run that is complete already is not trained again.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[2]))
from training.checkpoints import checkpoint
from training.data import datasets
from training.data.batches import evaluation_batches
from training.device import choose_device
from training.loop import evaluate
from training.monitor.plots import mistakes
from training.train_state import load_model, new_train_state

ROOT = Path(__file__).parents[2]
IMAGES, EPOCHS = 60_000, 20  # of the largest training set
SIZES = (15_000, 30_000, 54_000)
AUGMENT = {"none": "without distortions", "affine": "with distortions"}


@dataclass(frozen=True)
class Options:
    data_root: Path = Path("data")
    """Folder of MNIST."""
    logdir: Path = Path("runs/lenet5-study")
    """Where the six runs go, and the two pictures."""


def train(options: Options, size: int, augment: str) -> Path:
    folder = options.logdir / f"{size}-{augment}"
    if not (folder / "metrics.json").exists():
        epochs = round(EPOCHS * SIZES[-1] / size)
        resumed = ["--resume", str(folder)] if (folder / "last.pt").exists() else [
            "--model", "lenet5", "--data", "mnist", "--data-root", str(options.data_root),
            "--val-fraction", str(1 - size / IMAGES), "--augment", augment,
            "--epochs", str(epochs), "--logdir", str(options.logdir), "--name", folder.name,
        ]  # fmt: skip
        subprocess.run([sys.executable, str(ROOT / "train.py"), *resumed], check=True)
    return folder


def draw_errors(errors: dict[str, list[float]], path: Path) -> None:
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for augment, values in errors.items():
        axes.plot(SIZES, values, "o-", label=AUGMENT[augment])
    axes.set(xlabel="training images", ylabel="test error, %", xticks=SIZES, ylim=(0, None))
    axes.set_xticklabels([f"{size:,}" for size in SIZES])
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def draw_mistakes(folder: Path, data_root: Path, path: Path) -> int:
    """Every test image that is mistaken, under "class -> answer"; returns how many there are."""
    options, saved = checkpoint.load(folder / "best.pt")
    (test,), classes = datasets.load(options, "test")
    device = choose_device("auto", torch.float32)
    state = new_train_state(options, len(classes), 1, device, training=False)
    load_model(state.evaluated, saved)
    seen = evaluate(state, evaluation_batches(test, options.batch_size), "test")
    wrong = (seen.predictions != seen.targets).nonzero().flatten()
    images = torch.stack([test[int(index)][0] for index in wrong]).float() / 255
    titles = [f"{classes[seen.targets[i]]} → {classes[seen.predictions[i]]}" for i in wrong]
    mistakes(images, titles, columns=10).savefig(path, dpi=60)
    return len(wrong)


def main(options: Options) -> None:
    errors: dict[str, list[float]] = {}
    for augment in AUGMENT:
        for size in SIZES:
            folder = train(options, size, augment)
            error = json.loads((folder / "metrics.json").read_text())["test_error"]
            errors.setdefault(augment, []).append(100 * error)
    for augment, values in errors.items():
        shown = ", ".join(f"{size:,}: {e:.2f} %" for size, e in zip(SIZES, values, strict=True))
        print(f"{AUGMENT[augment]}: {shown}")
    draw_errors(errors, options.logdir / "errors.png")
    best = options.logdir / f"{SIZES[-1]}-affine"
    wrong = draw_mistakes(best, options.data_root, options.logdir / "mistakes.png")
    print(f"{wrong} mistakes: {options.logdir / 'mistakes.png'}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
