"""LeNet reads a strip of digits in one pass: its fully connected layers slide, as convolutions.

    python docs/examples/digit_strip.py RUN --data mnist --data-root DIR --picture strip.png

RUN is a run of `lenet` (python train.py --model lenet --data mnist).  LeNet pads nowhere, so its
map over the strip equals what it says of each 32 x 32 crop.  A network that has seen single digits
only is sure of something between two digits, too; so, as LeCun et al. 1998 (section VII) did, it is
trained a little more on strips, as the convolutional network that it now is, with an eleventh class
for windows that are not centred on a digit.  Then 200 strips of test digits are read, 20 to 40
pixels apart; the reader knows neither how many digits there are nor where.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Subset

sys.path.insert(0, str(Path(__file__).parents[2]))
import layers
import models
from analysis.dense import Dense, crops
from training.checkpoints import checkpoint
from training.data import datasets
from training.data.preprocess import Preprocess

SIZE, CENTRE = 32, 16  # LeNet's window
DIGITS, NEAREST, FARTHEST = 6, 20, 40  # of a strip; pixels between centres
NONE = 10  # the class of a window that is not centred on a digit


@dataclass(frozen=True)
class Options:
    run: tyro.conf.Positional[Path]
    """A run of lenet, or a checkpoint of one."""
    data: str = "mnist"
    """Whose digits: mnist or digits."""
    data_root: Path = Path("data")
    """The folder of the data set."""
    steps: int = 600
    """Of training on strips, sixteen each."""
    strips: int = 200
    """Strips to read."""
    seed: int = 0
    """Of the strips."""
    picture: Path = Path("digit_strip.png")
    """Where the first strip, its map and its reading are drawn."""


def make_strips(
    digits: Tensor, targets: Tensor, number: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Strips of digits, each some pixels from the one before.

    Returns:
        images (N, 1, 32, W) in [0, 255]; classes and centres of the digits, (N, DIGITS) each.
    """
    which = torch.randint(len(digits), (number, DIGITS), generator=generator)
    gaps = torch.randint(NEAREST, FARTHEST + 1, (number, DIGITS), generator=generator)
    centres = gaps.cumsum(1)
    strips = torch.zeros(number, 1, SIZE, FARTHEST * DIGITS + SIZE)
    for strip, numbers, places in zip(strips, which.tolist(), centres.tolist(), strict=True):
        for i, place in zip(numbers, places, strict=True):
            window = strip[:, :, place - CENTRE : place + CENTRE]
            torch.maximum(window, digits[i].float(), out=window)  # ink covers paper
    return strips, targets[which], centres


def targets_of_places(classes: Tensor, centres: Tensor, places: Tensor) -> Tensor:
    """(N, P): the class of the digit that a window is centred on, within half a stride; NONE; or
    -100, which no loss counts, for a window that is a little beside one."""
    distance = (places[None, :, None] - centres[:, None]).abs()  # N x P x DIGITS
    nearest, which = distance.min(2)
    result = classes.gather(1, which)
    result[nearest > 6] = NONE
    result[(nearest > 2) & (nearest <= 6)] = -100
    return result


def with_none(network: torch.nn.Module) -> torch.nn.Module:
    """LeNet of ten classes as one of eleven, whose last starts at 0."""
    wider = models.build("lenet", num_classes=NONE + 1)
    state = network.state_dict()
    for name, value in wider.state_dict().items():
        if value.shape != state[name].shape:
            state[name] = F.pad(state[name], (0, 0) * (value.dim() - 1) + (0, 1))
    wider.load_state_dict(state)
    return wider


def read(scores: Tensor) -> tuple[list[int], list[int]]:
    """The places at which there is a digit, and which, from scores (11, P) of one strip.

    A place counts if a digit is likelier there than none, and no place within 12 pixels is surer.
    """
    probability = scores.softmax(0)
    is_digit = 1 - probability[NONE]
    surest = F.max_pool1d(is_digit[None], 7, stride=1, padding=3)[0]
    places = ((is_digit > 0.5) & (is_digit == surest)).nonzero().flatten()
    return places.tolist(), probability[:NONE].argmax(0)[places].tolist()


def edit_distance(a: list[int], b: list[int]) -> int:
    """Digits to be inserted, left out or changed to turn one reading into another."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def draw(
    strip: Tensor, scores: Tensor, places: list[int], digits: list[int], stride: int
) -> Figure:
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1.5, 2.2))
    width = strip.shape[-1]
    top.imshow(strip[0].numpy(), cmap="gray", extent=(0, width, SIZE, 0), aspect="equal")
    top.axis("off")
    for place, digit in zip(places, digits, strict=True):
        top.text(place * stride + CENTRE, -3, str(digit), ha="center", va="bottom", fontsize=13)
    left, right = CENTRE - stride / 2, CENTRE - stride / 2 + stride * scores.shape[1]
    bottom.imshow(
        scores.softmax(0).numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto",
        extent=(left, right, scores.shape[0] - 0.5, -0.5),
    )  # fmt: skip
    bottom.set_yticks(range(NONE + 1), [*map(str, range(NONE)), "none"])
    bottom.set(xlabel="centre of the window, pixels", xlim=(0, width))
    bottom.set_title("probability of each class at every place, from one pass", fontsize=10)
    return figure


def main(options: Options) -> None:
    path = options.run / "best.pt" if options.run.is_dir() else options.run
    trained, saved = checkpoint.load(path)
    trained = replace(trained, data=options.data, data_root=options.data_root)
    if trained.model != "lenet" or trained.image_size != SIZE:
        raise SystemExit(f"{path} is a {trained.model}: give a run of lenet with 32 x 32 pixels")
    parts, _ = datasets.load(trained, "train", "test")
    network = models.build("lenet")
    network.load_state_dict(saved["model"])
    wider = with_none(network)

    prepared = Preprocess(trained).eval()
    generator = torch.Generator().manual_seed(options.seed)
    dense = Dense(wider, (1, SIZE, SIZE))
    learn(dense, prepared, *digits_of(parts[0]), options.steps, generator)

    strips, classes, _ = make_strips(*digits_of(parts[1]), options.strips, generator)
    x = prepared(strips)
    with torch.no_grad():
        maps = dense.map(x)[:, :, 0]
        windows = crops(x[:1], dense.window, dense.stride)
        answers = wider(windows)
        difference = ((maps[0].T - answers).abs().max() / answers.abs().max()).item()
    readings = [read(scores) for scores in maps]
    wrong = sum(
        edit_distance(digits, truth)
        for (_, digits), truth in zip(readings, classes.tolist(), strict=True)
    )
    total = classes.numel()
    print(f"a strip of {x.shape[3]} pixels gives a map of {maps.shape[2]} places")
    print(f"largest difference from {len(windows)} crops: {difference:.1e} of the largest score")
    print(f"{options.strips} strips, {total} digits: {max(0, 1 - wrong / total):.2%} read")
    draw(strips[0, 0][None], maps[0], *readings[0], dense.stride).savefig(options.picture, dpi=100)


def digits_of(part: Subset) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 32, 32) and classes of a part of the data set."""
    images, targets, _ = part.__getitems__(list(range(len(part))))  # type: ignore[misc]
    return images, targets


def learn(
    dense: Dense, prepared: Preprocess, digits: Tensor, targets: Tensor, steps: int,
    generator: torch.Generator,
) -> None:  # fmt: skip
    """Train the convolutional network on strips, all places at once."""
    optimizer = torch.optim.SGD(dense.parameters(), 0.05, 0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=steps)
    criterion = layers.CrossEntropyLoss(ignore_index=-100)
    for _ in range(steps):
        strips, classes, centres = make_strips(digits, targets, 16, generator)
        scores = dense.map(prepared(strips))[:, :, 0]  # N x 11 x P
        places = torch.arange(scores.shape[2]) * dense.stride + CENTRE
        truth = targets_of_places(classes, centres, places)
        loss = criterion(scores.movedim(1, -1).flatten(0, 1), truth.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
