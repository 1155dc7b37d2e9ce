"""See into a network: pictures as PNG files and in TensorBoard, and pages to hand to a class.

python visualize.py filters runs/lenet-mnist            # the filters, before and after training
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from analysis.pages.conv_demo_options import ConvDemoOptions
from training import errors
from training.bounds import check_bounds
from training.malloc import keep_freed_memory
from training.outputs import check_output
from training.parsing import command_line

if TYPE_CHECKING:
    from training.album import Album
    from training.loaded_network import LoadedNetwork


@dataclass(frozen=True, kw_only=True)
class _Network:
    network: Annotated[str, tyro.conf.Positional]
    """A run's folder, a checkpoint, or the name of a network (or a layer pattern)."""
    weights: str = "random"
    """Of a network by its name: random, imagenet (torchvision's), or a file of them."""
    data: str | None = None
    """Data set whose images are taken; by default the one it was trained on, and for a network by
    its name digits, or imagefolder if it is made for photographs."""
    data_root: Path | None = None
    """Folder of the data set; by default the one it was trained from."""
    seed: int = 0
    """Of random weights."""
    device: str = "auto"
    """Where to compute: cpu, cuda, cuda:1, mps, xpu, or any other device of torch's."""
    output: Path | None = None
    """Folder for the pictures; by default pictures/ in the run's folder, or runs/NAME/pictures."""


@dataclass(frozen=True, kw_only=True)
class Filters(_Network):
    """The filters of every layer as tiles; of a run, also as they were before training."""

    layer: tuple[str, ...] = ()
    """Layers by their names in the network, such as features.0; by default all that slide filters,
    up to eight."""


@dataclass(frozen=True, kw_only=True)
class _OfImages(_Network):
    image: tuple[str, ...] = ("0",)
    """Image files, or numbers of test images of the data set."""


@dataclass(frozen=True, kw_only=True)
class Columns(_OfImages):
    """An image on its way through the network: every volume as a column of activation maps."""

    layer: tuple[str, ...] = ()
    """Layers or blocks by their names, as features.0 or layer1.0.conv1; by default as many as
    --columns, which are chosen over the whole depth."""
    columns: int = 12
    """Volumes, at most."""
    maps: int = 8
    """Activation maps of a volume, at most: those that vary most over the image."""


@dataclass(frozen=True, kw_only=True)
class ConvDemo:
    """A convolution step by step, forward and backward, and max-pooling: one HTML file."""

    options: Annotated[ConvDemoOptions, tyro.conf.arg(name="")]
    output: Path = Path("conv-demo.html")
    """The file."""


def main() -> None:
    description = (__doc__ or "").split("\n")[0]
    options = command_line(Filters | Columns | ConvDemo, sys.argv[1:], description=description)
    check_bounds(seed=getattr(options, "seed", 0))
    if options.output is not None:
        is_file = isinstance(options, ConvDemo)
        check_output("--output", options.output.parent if is_file else options.output)
    keep_freed_memory()
    DRAWN[type(options)](options)


def _load(options: _Network) -> "tuple[LoadedNetwork, Album]":
    from training.album import Album
    from training.loaded_network import load_network

    loaded = load_network(
        options.network, weights=options.weights, data_name=options.data,
        data_root=options.data_root, seed=options.seed, device=options.device,
    )  # fmt: skip
    folder = options.output or loaded.folder / "pictures"
    check_output("--output", folder)
    return loaded, Album(folder, loaded.step)


def _filters(options: Filters) -> None:
    from analysis.pictures import filters

    loaded, album = _load(options)
    found = filters.filter_layers(loaded.model)
    names = _chosen(options.layer, list(found), filters.SHOWN)
    before = filters.filter_layers(loaded.before_training()) if loaded.step else {}
    for name in names:
        panels = [(loaded.origin, filters.panel(*found[name]))]
        if before:
            panels[0] = (f"after {loaded.step:,} steps", panels[0][1])
            panels.insert(0, ("before training", filters.panel(*before[name])))
        title = f"{loaded.options.model}, filters of {name}"
        print(f"  {album.add('filters', name, filters.draw(title, panels))}")


def _columns(options: Columns) -> None:
    import models
    from analysis.pictures import columns, volumes

    loaded, album = _load(options)
    for which in options.image:
        image, truth = loaded.image(which)
        seen, output = volumes.volumes(loaded.model, loaded.sees(image[None]))
        chosen = volumes.choose(loaded.model, seen, options.columns)
        if options.layer:
            chosen = [seen[name] for name in _chosen(options.layer, list(seen), 0)]
        sheet = columns.draw(
            _title(loaded, which), image / 255, chosen, models.logits(output)[0].softmax(0),
            loaded.classes, truth, options.maps,
        )  # fmt: skip
        print(f"  {album.add('columns', Path(which).stem, sheet)}")


def _conv_demo(options: ConvDemo) -> None:
    from analysis.pages.conv_demo import conv_demo

    try:
        page = conv_demo(options.options)
    except ValueError as error:
        raise errors.UserError(str(error)) from None
    _write(page, options.output)


def _write(page: str, file: Path) -> None:
    """
    Raises:
        UserError: it cannot be written.
    """
    if file.is_dir():
        raise errors.UserError(f"--output {file} is a folder: give the name of a file in it")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise errors.UserError(f"--output {file} cannot be written: {error.strerror}") from None
    print(f"  {file}  {file.stat().st_size / 1e6:.1f} MB, opens in any browser")


def _chosen(given: tuple[str, ...], known: list[str], most: int) -> list[str]:
    """Layers by name: those that were asked for, or the first and some after it."""
    for name in given:
        if name not in known:
            raise errors.unknown("layer", name, known)
    if given or len(known) <= most:
        return [*given] or known
    return [known[round(i * (len(known) - 1) / (most - 1))] for i in range(most)]


def _title(loaded: "LoadedNetwork", which: str) -> str:
    """The network and the image, in a line."""
    name = "a pattern network" if "->" in loaded.options.model else loaded.options.model
    image = f"{loaded.options.data} test image {which}" if which.isdigit() else Path(which).name
    return f"{name}, {image}"


DRAWN: dict[type, Callable[[Any], None]] = {
    Filters: _filters,
    Columns: _columns,
    ConvDemo: _conv_demo,
}

if __name__ == "__main__":
    errors.run(main)
