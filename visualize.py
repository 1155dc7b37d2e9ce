"""See into a network: pictures as PNG files and in TensorBoard, and pages to click through.

python visualize.py filters runs/lenet-mnist                  # before and after training
python visualize.py columns runs/lenet-mnist --image 7        # an image on its way through
python visualize.py deconvnet runs/lenet-mnist --layer features.4   # what its maps respond to
python visualize.py occlusion runs/lenet-mnist --image 2      # where it looks
python visualize.py explore runs/lenet-mnist 7 2              # a page: from layers to single units
python visualize.py conv-demo --stride 1                      # a page: a convolution step by step
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from analysis.pages.conv_demo_options import ConvDemoOptions
from training import errors
from training.arguments.bounds import check_bounds
from training.arguments.outputs import check_output
from training.arguments.parsing import command_line
from training.memory.malloc import keep_freed_memory


@dataclass(frozen=True, kw_only=True)
class _Network:
    network: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|CHECKPOINT|NAME")]
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
class _OfImages(_Network):
    image: tuple[str, ...] = ("0",)
    """Image files, or numbers of test images of the data set."""


@dataclass(frozen=True, kw_only=True)
class Filters(_Network):
    """The filters of every layer as tiles; of a run, also as they were before training."""

    layer: tuple[str, ...] = ()
    """Layers by their names in the network, as features.0; by default all that slide filters, up
    to eight."""


@dataclass(frozen=True, kw_only=True)
class Columns(_OfImages):
    """An image on its way through the network: every volume as a column of activation maps."""

    layer: tuple[str, ...] = ()
    """Layers or blocks by their names, as features.0 or layer1.0.conv1; by default as many as
    --columns, chosen over the whole depth."""
    columns: int = 12
    """Volumes, at most."""
    maps: int = 8
    """Activation maps of a volume, at most: those that vary most over the image."""


@dataclass(frozen=True, kw_only=True)
class Deconvnet(_Network):
    """What the maps of a layer respond to: the nine test images that made each respond most, and
    what of them did, projected back to the pixels (Zeiler & Fergus 2013)."""

    layer: tuple[str, ...] = ()
    """Layers or blocks by their names, as features.4; by default up to four, from the first to the
    last that has maps."""
    map: tuple[int, ...] = ()
    """Maps by their numbers, from 0; by default the first ones, as many as --maps."""
    maps: int = 16
    """Maps of a layer, at most."""
    methods: tuple[Literal["deconvnet", "guided", "gradient"], ...] = ("deconvnet",)
    """The paper's, guided back-propagation, or the gradient; several stand side by side."""
    images: int | None = None
    """Test images to search, the first ones; by default all."""
    batch_size: int = 256
    """Images at a time."""


@dataclass(frozen=True, kw_only=True)
class Occlusion(_OfImages):
    """A grey square slides over the image: a map of its class's probability (of the most probable
    one, for an image file), and of the class that is then the most probable."""

    size: int | None = None
    """Of the square, in pixels; by default a quarter of the image's."""
    stride: int | None = None
    """Pixels from one place to the next; by default there are 32 x 32 places, or a few more."""
    grey: int = 128
    """Of the square, from 0, black, to 255, white."""
    batch_size: int = 64
    """Images at a time."""


@dataclass(frozen=True, kw_only=True)
class Explore(_Network):
    """A page to click through: every layer's activations on some images, down to the products and
    the sum that make a single number. One HTML file."""

    image: Annotated[tuple[str, ...], tyro.conf.Positional] = ("0",)
    """Image files, or numbers of test images of the data set."""
    output: Path | None = None
    """The file; by default explore.html in the run's folder, or in runs/NAME."""


@dataclass(frozen=True, kw_only=True)
class ConvDemo:
    """A page that steps through a convolution, forward and backward, and through max-pooling. One
    HTML file."""

    options: Annotated[ConvDemoOptions, tyro.conf.arg(name="")]
    output: Path = Path("conv-demo.html")
    """The file."""


def main() -> None:
    description = (__doc__ or "").split("\n")[0]
    kinds = Filters | Columns | Deconvnet | Occlusion | Explore | ConvDemo
    options = command_line(kinds, sys.argv[1:], description=description)
    bounded = ("seed", "columns", "maps", "map", "images", "size", "stride", "grey", "batch_size")
    check_bounds(**{name: getattr(options, name, None) for name in bounded})
    is_page = isinstance(options, Explore | ConvDemo)
    if options.output is not None:
        check_output("--output", options.output.parent if is_page else options.output)
    keep_freed_memory()
    from training.inspection import (  # import torch: not before --help has been answered
        pages,
        visualize,
    )
    from training.inspection.album import Album
    from training.inspection.loaded_network import load_network

    if isinstance(options, ConvDemo):
        print(f"  {pages.conv_demo(options.options, options.output)}")
        return
    loaded = load_network(
        options.network, weights=options.weights, data_name=options.data,
        data_root=options.data_root, seed=options.seed, device=options.device,
    )  # fmt: skip
    if isinstance(options, Explore):
        file = options.output or loaded.folder / "explore.html"
        print(f"  {pages.explore(loaded, options.image, file)}")
        return
    folder = options.output or loaded.folder / "pictures"
    check_output("--output", folder)
    print(f"  {loaded.title}, weights {loaded.origin}")
    with Album(folder, loaded.step) as album:
        if isinstance(options, Filters):
            paths = visualize.filters(loaded, album, options.layer)
        elif isinstance(options, Columns):
            paths = visualize.columns(
                loaded, album, options.image, options.layer, options.columns, options.maps
            )
        elif isinstance(options, Deconvnet):
            paths = visualize.deconvnet(
                loaded, album, options.layer, options.map, options.maps, options.methods,
                options.images, options.batch_size,
            )  # fmt: skip
        else:
            paths = visualize.occlusion(
                loaded, album, options.image, options.size, options.stride, options.grey,
                options.batch_size,
            )  # fmt: skip
        for path in paths:
            print(f"  {path}", flush=True)


if __name__ == "__main__":
    errors.run(main)
