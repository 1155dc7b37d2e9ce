"""The filters of a network: what its first layer looks for, and how deeper layers combine maps.

Filters that read an image of three colours are coloured tiles, as in Krizhevsky et al. 2012, Fig.
3; all others have a tile for each map that they read, in a row.  Red weights are positive, blue
ones negative, white is zero.  What is large is not shown whole: every picture says how much it
shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from layers import LocallyConnected2d
from models.lenet import PartialConv2d

from . import colours
from .sheet import FAINT, Sheet

WIDTH, HEIGHT = 960, 560  # pixels, of all tiles
GAP, BREAK, MARGIN, HEAD = 2, 8, 20, 78  # between tiles, between groups, around all, above tiles
SHOWN = 8  # layers of a network, evenly spread
LARGEST, LEAST = 12, 360  # of a weight; of a panel's width, for its words
MAX_TILES, MAX_ROWS, MAX_COLUMNS = 96, 16, 32  # of whole filters; of a grid of filters and maps


@dataclass
class Panel:
    """Tiles in rows, and what they are."""

    tiles: np.ndarray  # (rows, columns, K_h, K_w, 3)
    words: str
    breaks: Sequence[int] = ()  # rows before which another group begins


def filters(weight: Tensor, groups: int = 1) -> Panel:
    """Filters (C_out, C_in, K_h, K_w) as tiles.

    Args:
        groups: towers, whose filters are shown one after the other.
    """
    weight = weight.detach().float().cpu()
    if weight.shape[1] in (1, 3):
        return _whole(weight, groups)
    count, maps = weight.shape[:2]
    shown = weight[:MAX_ROWS, :MAX_COLUMNS]
    largest = shown.abs().amax((1, 2, 3), keepdim=True)
    words = (
        f"{_part(len(shown), count, 'filters')}, a row each; {_part(shown.shape[1], maps, 'maps')}"
    )
    return Panel(colours.signed(shown, largest), words)


def _whole(weight: Tensor, groups: int) -> Panel:
    """Tiles for filters that read one map, or three colours."""
    of_group = weight.unflatten(0, (groups, -1))[:, : MAX_TILES // groups]
    each = of_group.shape[1]
    columns = min(each, 12 if groups > 1 else max(8, math.ceil(math.sqrt(1.5 * each))))
    rows = math.ceil(each / columns)
    tiles = colours.contrast(of_group)
    blank = np.ones((groups, rows * columns - each, *tiles.shape[2:]))
    tiles = np.concatenate((tiles, blank), 1).reshape(groups * rows, columns, *tiles.shape[2:])
    words = _part(groups * each, len(weight), "filters")
    if groups > 1:
        words += f", in {groups} towers"
    return Panel(tiles, words, range(rows, groups * rows, rows))


def local_filters(layer: LocallyConnected2d, positions: int = 8) -> Panel:
    """The filters of one output map by their place in it: a locally connected layer has many.

    Args:
        positions: at most so many in each direction, evenly spread over the map.
    """
    height, width = layer.weight.shape[:2]
    rows, columns = (
        torch.linspace(0, size - 1, min(size, positions)).round().long() for size in (height, width)
    )
    kernel = layer.geometry.kernel_size
    first = layer.weight.detach().float().cpu()[rows][:, columns][:, :, 0, :, 0]
    windows = first.unflatten(2, (*kernel, -1)).movedim(-1, 2)  # rows, columns, C, K_h, K_w
    words = (
        f"the first map's filters at {len(rows)} x {len(columns)} of its {height} x {width} places"
    )
    if windows.shape[2] not in (1, 3):
        windows, words = windows[:, :, :1], f"{words}; of the maps that they read, the first"
    return Panel(colours.contrast(windows), words)


def panel(layer: torch.nn.Module, groups: int = 1) -> Panel:
    """The filters of a layer as tiles."""
    if isinstance(layer, LocallyConnected2d):
        return local_filters(layer)
    if isinstance(layer, PartialConv2d):
        return filters(layer.filters(), groups)
    return filters(layer.weight, groups)  # type: ignore[arg-type]


def filter_layers(model: torch.nn.Module) -> dict[str, tuple[torch.nn.Module, int]]:
    """The layers that slide filters, by name, with the number of towers that read each."""
    kinds = torch.nn.Conv2d | LocallyConnected2d | PartialConv2d
    found = {name: layer for name, layer in model.named_modules() if isinstance(layer, kinds)}
    followers = [getattr(layer, "groups", 1) for layer in [*found.values()][1:]]
    towers = [*followers, 1]
    return {
        name: (layer, number if _splits(layer, number) else 1)
        for (name, layer), number in zip(found.items(), towers, strict=False)
    }


def _splits(layer: torch.nn.Module, groups: int) -> bool:
    weight = getattr(layer, "weight", None)
    return groups == 2 and weight is not None and len(weight) % 2 == 0


def draw(title: str, panels: Sequence[tuple[str, Panel]]) -> Sheet:
    """Panels of equal tiles side by side under headings, such as before and after training."""
    first = panels[0][1]
    rows, columns, height, width, _ = first.tiles.shape
    room = (WIDTH - MARGIN) / len(panels) - MARGIN
    scale = min(room / columns - GAP, (HEIGHT / rows - GAP) * width / height) / width
    scale = max(0.5, min(LARGEST, math.floor(2 * scale) / 2))  # whole pixels of the file
    pitch = scale * width + GAP, scale * height + GAP
    across = max(columns * pitch[0], LEAST)
    down = rows * pitch[1] + BREAK * len(first.breaks)
    sheet = Sheet(len(panels) * (across + MARGIN) + MARGIN, HEAD + down + MARGIN)
    sheet.text(title, MARGIN, MARGIN - 3, 14, weight="bold")
    sheet.text(first.words, MARGIN, MARGIN + 17, 10.5, FAINT)
    for number, (heading, panel) in enumerate(panels):
        left = MARGIN + number * (across + MARGIN)
        sheet.text(heading, left, MARGIN + 38, 11)
        for index, tile in enumerate(panel.tiles.reshape(-1, *panel.tiles.shape[2:])):
            row, column = divmod(index, columns)
            top = HEAD + row * pitch[1] + BREAK * sum(row >= at for at in panel.breaks)
            sheet.image(tile, left + column * pitch[0], top, scale * width, scale * height)
    return sheet


def _part(shown: int, of: int, noun: str) -> str:
    return f"{of} {noun}" if shown == of else f"the first {shown} of {of} {noun}"
