"""What `visualize.py` does: pictures of a network and of its images, put into an album."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

import models
from analysis import occlusion as occluding
from analysis import volumes
from analysis.deconvnet import project
from analysis.pictures import columns as columns_picture
from analysis.pictures import filters as filters_picture
from analysis.pictures import occlusion as occlusion_picture
from analysis.pictures import projections
from analysis.receptive_field import ReceptiveField, receptive_fields
from analysis.strongest import strongest
from analysis.walk import walk

from ..errors import UserError, unknown
from ..monitor.progress import Progress
from .album import Album
from .loaded_network import LoadedNetwork

LONGEST = 100  # letters of a picture's name
LAYERS = 4  # of the deconvnet, by default


def filters(loaded: LoadedNetwork, album: Album, layers: Sequence[str]) -> Iterator[Path]:
    """The filters of each layer; of what was trained, also as they were before."""
    found = filters_picture.filter_layers(loaded.model)
    if not found:
        raise UserError(
            f"{loaded.title} has no filters to draw: it needs a convolution or a locally connected "
            "layer"
        )
    before = filters_picture.filter_layers(loaded.before_training()) if loaded.step else {}
    for name in chosen(layers, list(found)) or spread(list(found), filters_picture.SHOWN):
        panels = [(loaded.origin, filters_picture.panel(*found[name]))]
        if before:
            panels = [
                ("before training", filters_picture.panel(*before[name])),
                (f"after {loaded.step:,} steps", panels[0][1]),
            ]
        sheet = filters_picture.draw(f"{loaded.title}: filters of {name}", panels)
        yield album.add("filters", name, sheet)


def columns(
    loaded: LoadedNetwork, album: Album, images: Sequence[str], layers: Sequence[str], most: int,
    maps: int,
) -> Iterator[Path]:  # fmt: skip
    """Each image on its way through the network."""
    names_of_files = distinct(images)
    for which in images:
        image, truth = loaded.image(which)
        seen, output = volumes.volumes(loaded.model, loaded.sees(image[None]))
        names = chosen(layers, list(seen))
        sheet = columns_picture.draw(
            f"{loaded.title}: {loaded.name_of(which)}",
            image / 255,
            [seen[name] for name in names] or volumes.choose(loaded.model, seen, most),
            models.logits(output)[0].softmax(0).cpu(),
            loaded.classes,
            truth,
            maps,
        )
        yield album.add("columns", names_of_files[which], sheet)


def deconvnet(
    loaded: LoadedNetwork, album: Album, layers: Sequence[str], maps: Sequence[int], most: int,
    methods: Sequence[str], images: int | None, batch_size: int,
) -> Iterator[Path]:  # fmt: skip
    """The patches to which each map of a layer responds most, and their projections.

    Raises:
        UserError: there is nothing to project through.
    """
    test_set = loaded.test_set
    count = min(images or len(test_set), len(test_set))
    x = loaded.sees(test_set[0][0][None])
    seen, _ = volumes.volumes(loaded.model, x)
    with_maps = [name for name, volume in seen.items() if volume.has_maps]
    usual = [v.name for v in volumes.finished(loaded.model, seen) if v.has_maps and not v.is_pooled]
    if not usual:
        raise UserError(f"{loaded.title} has no maps to look at: it needs a convolution")
    for name in chosen(layers, with_maps) or spread(usual, LAYERS):
        length = seen[name].x.shape[1]
        if maps and max(maps) >= length:
            raise UserError(f"--map {max(maps)}: {name} has {length} maps, from 0")
        batches = ((loaded.sees(some), which) for some, which in loaded.batches(count, batch_size))
        watched = Progress(batches, -(-count // batch_size), name)
        top = strongest(loaded.model, name, watched)
        responding = (top.values[:, 0] > 0).nonzero().flatten().tolist()
        numbers = maps or responding[:most]
        if not numbers:
            raise UserError(f"{loaded.title}: no map of {name} responds to any of these images")
        field = receptive_field(loaded.model, x, name)
        drawn = []
        for number in numbers:
            patches = torch.stack([test_set[index][0] for index in top.images[number].tolist()])
            units = top.units[number]
            try:
                projected = {
                    method: project(loaded.model, loaded.sees(patches), name, units, method)
                    for method in methods
                }
            except ValueError as error:
                raise UserError(
                    f"{loaded.title}: {error}; the methods are for networks with ReLU, such as "
                    "lenet, alexnet, zfnet, vgg16 and resnet18"
                ) from None
            drawn.append(projections.Map(number, patches / 255, units, field, projected))
        size = "whole images" if field is None else "patches of {} x {} pixels".format(*field.size)
        title = f"{loaded.title}: what the maps of {name} respond to"
        words = f"{count:,} test images of {loaded.options.data}; {size}, the strongest first"
        if len(responding) < length:
            words += f"; {length - len(responding)} of {length} maps respond to none"
        yield album.add("deconvnet", name, projections.draw(title, words, drawn))


def receptive_field(model: torch.nn.Module, x: Tensor, name: str) -> ReceptiveField | None:
    """Of a layer, or of a block, which is that of the last layer in it; None if it is not known, or
    larger than the images."""
    calls = walk(model, x.shape)
    inside = [call.name for call in calls if call.name == name or name in call.path]
    field = receptive_fields(calls)[inside[-1]] if inside else None
    if field is None or max(field.size) > min(x.shape[2:]):
        return None
    return field


def occlusion(
    loaded: LoadedNetwork, album: Album, images: Sequence[str], size: int | None,
    stride: int | None, grey: int, batch_size: int,
) -> Iterator[Path]:  # fmt: skip
    """Maps of a class's probability while a square covers a part of the image."""

    @torch.no_grad()
    def probabilities(some: Tensor) -> Tensor:
        return models.logits(loaded.model(loaded.sees(some))).softmax(1).cpu()

    drawn = []
    for which in images:
        image, truth = loaded.image(which)
        side = image.shape[1]
        square, step = size or max(1, side // 4), stride or max(1, side // 32)
        whole = probabilities(image[None])[0]
        target = int(whole.argmax()) if truth is None else truth
        covered = occluding.occlude(probabilities, image, square, step, grey, batch_size)
        drawn.append(
            occlusion_picture.Occlusion(
                loaded.name_of(which), image / 255, target, float(whole[target]), covered, square,
                grey,
            )
        )  # fmt: skip
    sheet = occlusion_picture.draw(f"{loaded.title}: occlusion", drawn, loaded.classes)
    files = "-".join(distinct(images).values())
    if len(files) > LONGEST:
        files = f"{Path(images[0]).stem[:LONGEST]}-and-{len(images) - 1}-more"
    yield album.add("occlusion", files, sheet)


def distinct(images: Sequence[str]) -> dict[str, str]:
    """By image a name for its picture: the file's, numbered where two files have the same."""
    names: dict[str, str] = {}
    for which in dict.fromkeys(images):
        name, number = Path(which).stem, 1
        while name in names.values():
            number += 1
            name = f"{Path(which).stem}-{number}"
        names[which] = name
    return names


def chosen(given: Sequence[str], known: Sequence[str]) -> list[str]:
    """The layers that were asked for by name.

    Raises:
        UserError: there is none of that name.
    """
    for name in given:
        if name not in known:
            raise unknown("layer", name, known)
    return [*given]


def spread(names: list[str], most: int) -> list[str]:
    """At most so many, evenly spread, the first and the last among them."""
    if len(names) <= most:
        return names
    return [names[round(i * (len(names) - 1) / (most - 1))] for i in range(most)]
