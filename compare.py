"""Our layers against torch.nn's: the same numbers, and at what price.

python compare.py layers                       # every operator, at the networks' sizes
python compare.py layers conv2d alexnet        # all rows of the operator, and all of the network
python compare.py layers conv2d@alexnet        # an operator in a network
python compare.py models lenet resnet18        # whole networks
python compare.py train lenet --data digits     # one network, trained with each layer set
python compare.py check my_layers.py:MyConv2d --shape 8,3,32,32 --args "3, 16, 3, padding=1"
"""

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tqdm import tqdm

from training import errors
from training.arguments.bounds import check_bounds
from training.arguments.outputs import check_output
from training.arguments.parsing import command_line
from training.memory.malloc import keep_freed_memory

if TYPE_CHECKING:
    from analysis.benchmark_config import BenchmarkConfig
    from analysis.report import Results


@dataclass(frozen=True, kw_only=True)
class _Machine:
    device: str = "cpu"
    """Where to compute: cpu, cuda, cuda:1, xpu, ...; mps in train alone: the rest need float64."""
    threads: int = 0
    """CPU threads; 0 for as many as torch takes."""


@dataclass(frozen=True, kw_only=True)
class _Common(_Machine):
    dtype: Literal["float32", "float64", "bfloat16", "float16"] = "float32"
    """Precision; whole networks take the half ones as torch.autocast."""
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    """How images and filters lie in memory. torch.nn is timed in both; its better one counts."""
    compile: bool = False
    """Run both through torch.compile."""
    seconds: float = 2.0
    """Of timing, for each comparison; three rounds are run at least."""


@dataclass(frozen=True, kw_only=True)
class _Saved(_Common):
    reference: bool = False
    """Measure ours by their plain definitions in layers/ops/ alone, too: what readability costs."""
    output: Path = Path("runs/compare")
    """Folder for the tables as JSON and CSV, a bar chart, and TensorBoard's events."""


@dataclass(frozen=True, kw_only=True)
class Layers(_Saved):
    """Every operator over a table of real shapes: errors against float64, time, memory.

    Exit code 1 if an error exceeds its tolerance.
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME ...")] = ()
    """Operators (conv2d), networks (vgg16), one in the other (conv2d@vgg16) or rows
    (vgg16.conv1_1): the rows of any of these; by default all."""


@dataclass(frozen=True, kw_only=True)
class Models(_Saved):
    """Whole networks: outputs, gradients, twenty training steps; time and memory of a step.

    Exit code 1 if an error exceeds its tolerance.
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME ...")] = ()
    """Networks; by default one of each family."""
    batch_size: int | None = None
    """Images per step; by default 128 small ones, or 4 to 16 large ones."""
    image_size: int | None = None
    """Height and width in pixels; by default the network's own."""
    num_classes: int | None = None
    """Logits; by default the network's own."""


@dataclass(frozen=True, kw_only=True)
class Train(_Machine):
    """One network trained from one seed with each layer set: curves, accuracies, times.

    Everything that is no option here is the recipe's. Exit code 1 if the layer sets do not start
    from the same weights, or, in float64, do not take the same first steps.
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """A network, or a layer pattern."""
    data: str = "digits"
    """Data set: digits, mnist, fashion_mnist, cifar10, cifar100, imagefolder."""
    data_root: Path = Path("data")
    """Folder the data set lies in, or is downloaded to."""
    epochs: int | None = None
    """Passes over the training set; by default the recipe's."""
    batch_size: int | None = None
    """Images per step; by default the recipe's."""
    seed: int = 0
    """Of initialisation, split, shuffling and augmentation."""
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    """How images and filters of all layer sets lie in memory, as for train.py."""
    reference: bool = True
    """Train ours by their plain definitions alone, too."""
    dtype: Literal["float32", "float64"] = "float32"
    """Precision of weights and activations. In float64, paths stay together for longer."""
    output: Path = Path("runs/compare/train")
    """A folder NAME-DATA in it gets the tables, the curves as PNG, and TensorBoard's events."""


@dataclass(frozen=True, kw_only=True)
class Check(_Common):
    """Judge a layer of your own: forward, gradients, second derivatives, options, speed.

    Your module is imported, which runs it. Your layer's parameters must have its twin's names and
    shapes. Exit code 0 if it is right, 1 if it is wrong, 2 if the question makes no sense.
    """

    layer: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODULE:LAYER")]
    """my_module:MyLayer, or path/to/my_file.py:MyLayer."""
    shape: str
    """Of the input, as 8,3,32,32."""
    arguments: Annotated[str, tyro.conf.arg(name="args")] = ""
    """Of both constructors, as "3, 16, 3, padding=1"."""
    against: str = ""
    """The layer it should equal, as torch.nn.Conv2d; by default the torch.nn layer it extends."""


def main() -> None:
    description = (__doc__ or "").split("\n")[0]
    options = command_line(Layers | Models | Train | Check, sys.argv[1:], description=description)
    bounded = ("batch_size", "image_size", "num_classes", "epochs", "seed", "threads", "seconds")
    check_bounds(**{name: getattr(options, name, None) for name in bounded})
    if isinstance(options, _Saved | Train):
        check_output("--output", options.output)
    if options.threads:
        import torch  # not before --help has been answered

        torch.set_num_threads(options.threads)
    if isinstance(options, Layers):
        code = _layers(options)
    elif isinstance(options, Models):
        code = _models(options)
    elif isinstance(options, Train):
        code = _train(options)
    else:
        code = _check(options)
    raise SystemExit(code)


def _config(options: _Common) -> "BenchmarkConfig":
    import torch

    from analysis.benchmark_config import BenchmarkConfig
    from training.device import MEMORY_FORMATS, choose_device

    return BenchmarkConfig(
        choose_device(options.device, torch.float64),  # the dtype of the reference
        getattr(torch, options.dtype), MEMORY_FORMATS[options.memory_format],
        options.compile, options.seconds, isinstance(options, _Saved) and options.reference,
    )  # fmt: skip


def _layers(options: Layers) -> int:
    from analysis import shapes

    try:
        rows = shapes.choose(options.names)
    except KeyError as error:
        raise errors.unknown("operator, network or row", error.args[0], shapes.names()) from None
    minutes = sum(1 + len(row.baselines) for row in rows) * options.seconds / 60
    _progress(f"{len(rows)} rows of {len(shapes.ROWS)}, at least {minutes:.1f} min of timing")
    config = _config(options)
    from analysis.layer_benchmark import LayerBenchmark

    results = LayerBenchmark(config)
    start = time.monotonic()
    with tqdm(total=len(rows), unit="row", leave=False, disable=not sys.stderr.isatty()) as bar:

        def log(line: str) -> None:
            tqdm.write(line, file=sys.stderr)
            bar.update()

        results.run(rows, log)
    return _finish("layers", options.output, results, time.monotonic() - start)


def _models(options: Models) -> int:
    from training.recipes import RECIPES

    for name in options.names:
        if name not in RECIPES:  # which has every network, and does not import torch
            raise errors.unknown("model", name, RECIPES)
    keep_freed_memory()  # as train.py does; single layers are timed as in any other script
    config = _config(options)
    from analysis.model_benchmark import ModelBenchmark
    from analysis.parity import DEFAULT_MODELS

    results = ModelBenchmark(config)
    sizes = {key: getattr(options, key) for key in ("batch_size", "image_size", "num_classes")}
    start = time.monotonic()
    try:
        results.run(options.names or DEFAULT_MODELS, _progress, **sizes)
    except ValueError as error:  # the image is too small
        raise errors.UserError(str(error)) from None
    return _finish("models", options.output, results, time.monotonic() - start)


def _train(options: Train) -> int:
    from training.recipes import recipe

    given = ("data_root", "epochs", "batch_size", "seed", "device", "memory_format", "dtype")
    values = {key: getattr(options, key) for key in given if getattr(options, key) is not None}
    run = replace(recipe(options.name, options.data), logdir=options.output, **values)
    run.check()
    keep_freed_memory()
    from models import LAYER_SETS
    from training.layer_sets import UnequalStart, compare

    layer_sets = [name for name in LAYER_SETS if options.reference or name != "reference"]
    start = time.monotonic()
    try:
        results, folder = compare(run, layer_sets)
    except UnequalStart as error:
        print(error, file=sys.stderr)
        return 1
    print()
    code = _finish("train", folder, results, time.monotonic() - start)
    if code:
        print("no rounding does that in so few steps: a layer is wrong", file=sys.stderr)
    return code


def _check(options: Check) -> int:
    config = _config(options)
    from analysis.check import check
    from analysis.check_target import InvalidCheck

    try:
        is_right = check(
            options.layer, options.against, options.shape, options.arguments, config, print
        )
    except InvalidCheck as error:
        raise errors.UserError(str(error)) from None
    except SystemExit as ended:  # or its code would be taken for the verdict
        raise errors.UserError(
            f"{options.layer} ends the program (exit code {ended.code}) before it is judged: put "
            "what it runs under if __name__ == '__main__'"
        ) from None
    return 0 if is_right else 1


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _finish(name: str, folder: Path, results: "Results", seconds: float) -> int:
    """Print and save the results; 1 if an error exceeds its tolerance."""
    from analysis import report

    tables = results.tables()
    print("\n".join(table.text() for table in tables))
    document = results.document()
    setting = ", ".join(f"{key} {value}" for key, value in document["setting"].items())
    print(f"{setting}\ntook {seconds:.0f} s")
    for path in report.save(folder, name, document, tables, results.chart()):
        print(f"  {path}")
    print(f"  tensorboard --logdir {folder}")
    if results.failed:
        names = ", ".join(results.failed)
        print(f"error beyond {results.tolerance:.0e}: {names}", file=sys.stderr)
    return 1 if results.failed else 0


if __name__ == "__main__":
    errors.run(main)
