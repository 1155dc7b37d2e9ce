"""How Winograd's convolution is divided: into tiles of outputs, and those into chunks.

Letters as in conv_winograd.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..interop.dry_run import few
from ..ops.geometry import Pair
from .conv_im2col import partition_images
from .openmp import num_threads
from .workspace import workspace

TILE, REACH = 4, 6  # pixels along a tile, and along what it sees
# Tiles that are transformed at a time are the rows of each product, and should stay in a core's
# second-level cache: more of them where that has 2 MB.  (torch 2.9 does not tell its size.)
CAPABILITIES: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
CPU_TILES, DEVICE_TILES = 256 if CAPABILITIES.get("l2_cache_size", 0) >= 2 << 20 else 128, 2048
MAX_TOGETHER = 2  # times so many are all transformed at once, and threads divide the filters
MIN_DIVIDED_WEIGHTS = 1 << 18  # weights from which the filters are divided where tiles are few,
WEIGHTS_AT_A_TIME = 10 << 16  # and how many of them are transformed at a time

Chunk = tuple[slice, slice]  # which images, and which rows of tiles


def tiling(output_size: Sequence[int]) -> Pair:
    """(rows, columns) of tiles that cover the outputs."""
    height, width = output_size
    return -(-height // TILE), -(-width // TILE)


def partition(x: Tensor, tiling: Pair, weights: int) -> list[slice]:
    """The images by threads.  Not where tiles are few: there the filters are, and tiles common."""
    few_tiles = len(x) * prod(tiling) <= MAX_TOGETHER * CPU_TILES
    if x.is_cpu and few_tiles and weights > MIN_DIVIDED_WEIGHTS:
        return [slice(0, len(x))]
    return partition_images(x, weights, (TILE * tiling[0], TILE * tiling[1]))


class Plan(NamedTuple):
    """How a convolution is divided, so that what is between two products stays in the cache.

    Deep in a network tiles are few and filters many, which transformed are four times as large:
    there some of the filters are transformed at a time, by each thread its own.  Elsewhere all
    are, once.
    """

    chunks: list[Chunk]  # of tiles, at a time
    filters: list[slice]  # of a group's, at a time
    columns: int  # tiles side by side
    tiles: int  # in the largest chunk
    groups: int
    channels: int  # of a group

    @classmethod
    def of(cls, x: Tensor, tiling: Pair, groups: int, filters: int) -> Plan:
        """For images x (N, G*C, H, W), and filters (G, filters, C, 3, 3)."""
        (rows, columns), total, channels = tiling, len(x), x.shape[1] // groups
        budget, some = CPU_TILES if x.is_cpu else DEVICE_TILES, filters
        if total * rows * columns <= MAX_TOGETHER * budget and x.is_cpu:
            budget *= MAX_TOGETHER
            weights = 9 * groups * channels * filters
            if weights > MIN_DIVIDED_WEIGHTS:
                parts = max(num_threads(), ceil(weights / WEIGHTS_AT_A_TIME))
                some = 16 * ceil(filters / parts / 16)
        images = min(total, budget // max(1, rows * columns))
        band, images = rows if images else max(1, budget // columns), max(1, images)
        chunks = [
            (slice(first, min(first + images, total)), slice(top, min(top + band, rows)))
            for first in few(range(0, total, images))
            for top in few(range(0, rows, band))
        ]
        some_filters = [slice(k, min(k + some, filters)) for k in few(range(0, filters, some))]
        return cls(chunks, some_filters, columns, images * band * columns, groups, channels)

    def tile_scratch(self, like: Tensor) -> Sequence[Tensor]:
        """Memory for D and V, from the workspace."""
        numel = 36 * self.groups * self.tiles * self.channels
        return workspace(like, 2 * numel, "tiles").split(numel)

    def filter_scratch(self, like: Tensor) -> Sequence[Tensor]:
        """Memory for U, M and Y, from the workspace."""
        filters = self.groups * self.filters[0].stop
        sizes = 36 * filters * self.channels, 36 * filters * self.tiles, 16 * filters * self.tiles
        return workspace(like, sum(sizes)).split(sizes)
