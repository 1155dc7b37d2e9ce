"""im2col and col2im: a convolution as one matrix product (chapter, "Implementation as Matrix
Multiplication").

The chapter's product is  W_row [C_out x K] @ X_col [K x pixels],  K = C * K_h * K_w.

Letters: N images in the batch, n of them at a time, G groups, C = C_in/G channels of a group,
R of the H_out rows of windows at a time.  Columns are K_h*K_w times larger than the image, so only
as many images, or rows of one image, are stretched out at a time as fit a small workspace; that is
also what makes it fast (docs/performance.md).

Here the numbers lie channels last, so that a window row is a run of K_w*C of them in memory.
An image so thin that those runs are short is laid out as in im2col_nchw.py instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, prod
from typing import NamedTuple

import torch
from torch import Tensor

from ..ops.geometry import Geometry, Pair
from .im2col_loops import add_windows
from .jit import array, has_jit, parallel_for
from .workspace import workspace, workspace_bytes


class Chunk(NamedTuple):
    """The windows that are stretched out at a time: of several images, or some rows of one."""

    images: slice
    rows: slice

    @property
    def size(self) -> Pair:
        """(n, R)."""
        return self.images.stop - self.images.start, self.rows.stop - self.rows.start

    def of(self, volume: Tensor) -> Tensor:
        """The chunk's part of an output volume (N, C, H_out, W_out)."""
        return volume[self.images, :, self.rows]


class Im2col:
    """The matrices of one convolution: their sizes and their order in memory.

    Columns are stored as (G, n, R, W_out, K_h, K_w, C): X_col is their transpose.
    """

    memory_format = torch.channels_last

    def __init__(self, image_size: Pair, in_channels: int, geometry: Geometry) -> None:
        """For images (N, in_channels, *image_size)."""
        self.geometry = geometry
        self.groups = geometry.groups
        self.image_size = image_size
        self.output_size = geometry.output_size(image_size)
        self.channels = in_channels // geometry.groups

    def numel(self, rows: int) -> int:
        """How many there are in the columns of some rows of one image."""
        per_window = self.groups * self.channels * prod(self.geometry.kernel_size)
        return per_window * rows * self.output_size[1]

    def chunks(self, like: Tensor) -> Iterator[tuple[Chunk, Tensor]]:
        """All windows of a batch, a chunk at a time, with memory for its columns."""
        (height, _), total = self.output_size, like.shape[0]
        budget = max(1, workspace_bytes(like) // like.element_size())
        n = budget // max(1, self.numel(height))
        rows = height if n else max(1, budget * height // self.numel(height))
        n, rows = _equal(total, max(1, n)), _equal(height, rows)
        memory = workspace(like, n * self.numel(rows))
        for first in range(0, total, n):
            images = slice(first, min(first + n, total))
            for top in range(0, height, rows):
                chunk = Chunk(images, slice(top, min(top + rows, height)))
                yield chunk, memory[: chunk.size[0] * self.numel(chunk.size[1])]

    def filled(self, x: Tensor) -> Iterator[tuple[Chunk, Tensor]]:
        """All windows, a chunk at a time, with their X_col; pointwise, that is the image itself."""
        if self.geometry.is_pointwise:
            if len(x) > 0:
                yield Chunk(slice(0, len(x)), slice(0, self.output_size[0])), self.matrices(x)
            return
        for chunk, memory in self.chunks(x):
            if chunk.rows.start == 0:
                padded = self.padded(x[chunk.images])
            self.im2col(padded, chunk, memory)
            yield chunk, self.x_col(memory, chunk)

    def x_col(self, memory: Tensor, chunk: Chunk) -> Tensor:
        """The columns as matrices (G, K, n * pixels)."""
        return memory.view(self.groups, -1, self.channels * prod(self.geometry.kernel_size)).mT

    def _windows(self, memory: Tensor, chunk: Chunk) -> Tensor:
        """The columns as (n, G, C, K_h, K_w, R, W_out)."""
        n, rows = chunk.size
        shape = n, rows, self.output_size[1], *self.geometry.kernel_size, self.channels
        return memory.view(self.groups, *shape).permute(1, 0, 6, 4, 5, 2, 3)

    def im2col(self, padded: Tensor, chunk: Chunk, memory: Tensor) -> None:
        """Stretch every window of the chunk out into a column.

            windows[n,g,c,i,j,p,q] = padded[n, g*C + c, S p + D i, S q + D j]

        Args:
            padded: the chunk's images, (n, G*C, H + 2P, W + 2P), as `self.padded` makes them.
            memory: overwritten.
        """
        windows = self._windows(memory, chunk)
        (sh, sw), (dh, dw) = self.geometry.stride, self.geometry.dilation
        by_image, by_channel, by_row, by_pixel = padded.stride()
        strides = (
            by_image, self.channels * by_channel, by_channel,
            dh * by_row, dw * by_pixel, sh * by_row, sw * by_pixel,
        )  # fmt: skip
        first = padded[:, :, sh * chunk.rows.start :]
        windows.copy_(first.as_strided(windows.shape, strides))  # a view until it is copied

    def col2im(self, memory: Tensor, chunk: Chunk, x: Tensor) -> None:
        """The adjoint of `im2col`: every number is added back to the pixel it was read from."""
        col2im(self._windows(memory, chunk), x, self.geometry, chunk.rows.start)

    def padded(self, x: Tensor) -> Tensor:
        """x with its zeros around it, in this layout; x itself if it needs neither."""
        (ph, pw), (n, channels, height, width) = self.geometry.padding, x.shape
        if not (ph or pw):
            return x.contiguous(memory_format=self.memory_format)
        padded = self.new_volume(x, (n, channels, height + 2 * ph, width + 2 * pw)).zero_()
        padded[:, :, ph : ph + height, pw : pw + width] = x
        return padded

    def matrices(self, volume: Tensor) -> Tensor:
        """A chunk's outputs (n, G*C', R, W_out) as matrices (G, C', n * pixels): a view."""
        rows = volume.permute(0, 2, 3, 1).flatten(0, 2)
        return rows.unflatten(1, (self.groups, -1)).permute(1, 2, 0)

    def product(self, w_row: Tensor, x_col: Tensor, volume: Tensor) -> None:
        """volume (n, G*C', R, W_out) = W_row @ X_col."""
        _product_by_columns(w_row, x_col, self.matrices(volume))

    def add_input_gradient(
        self, w_row: Tensor, g: Tensor, chunk: Chunk, memory: Tensor, x: Tensor
    ) -> None:
        """x += col2im(W_row^T @ Y), Y the chunk's gradients g (n, G*C', R, W_out)."""
        _product_by_columns(w_row.mT, self.matrices(g), self.x_col(memory, chunk))
        self.col2im(memory, chunk, x)

    def add_product(self, w_row: Tensor, y: Tensor, x_col: Tensor) -> None:
        """W_row += Y @ X_col^T."""
        if w_row.dtype != y.dtype:
            w_row += torch.bmm(y, x_col.mT)
        else:
            w_row.baddbmm_(y, x_col.mT)

    def w_row(self, weight: Tensor) -> Tensor:
        """Filters (C_out, C, K_h, K_w) as W_row (G, C_out/G, K), K in the order of the columns."""
        return weight.permute(0, 2, 3, 1).flatten(1).unflatten(0, (self.groups, -1))

    def filters(self, w_row: Tensor) -> Tensor:
        """The inverse of `w_row`."""
        kernel = self.geometry.kernel_size
        return w_row.flatten(0, 1).unflatten(1, (*kernel, -1)).permute(0, 3, 1, 2)

    def new_volume(self, like: Tensor, shape: Sequence[int]) -> Tensor:
        """An uninitialised volume (N, C, H, W) in this layout."""
        return torch.empty(
            tuple(shape), dtype=like.dtype, device=like.device, memory_format=self.memory_format
        )


def col2im(windows: Tensor, x: Tensor, geometry: Geometry, top: int) -> None:
    """x[n, g*C + c, S p + D i - P, S q + D j - P] += windows[n,g,c,i,j,p,q].

    Args:
        windows: (n, G, C, K_h, K_w, R, W_out), of the R rows of windows from `top` on.
        x: (n, G*C, H, W).
    """
    pixels, (channels, _, _, *outputs) = x.permute(0, 2, 3, 1), windows.shape[2:]
    if has_jit(x) and windows.dtype == x.dtype and pixels.is_contiguous():
        columns = windows.permute(1, 0, 5, 6, 3, 4, 2).flatten(5)
        constants = tuple(geometry.flatten()), channels, top
        arrays = array(columns), array(pixels.flatten(2))
        parallel_for(add_windows, len(x), columns.numel(), *arrays, *constants)
        return
    grouped = x.unflatten(1, (geometry.groups, channels))
    part = geometry.first_row(top)  # the rows as a picture of their own
    for tap in part.taps(x.shape[2:], outputs):
        grouped[tap.pixels].add_(windows[:, :, :, tap.row, tap.column][tap.outputs])


def _equal(total: int, most: int) -> int:
    """The size of equal parts, as few as have no more than `most` each."""
    return max(1, ceil(total / max(1, ceil(total / most))))


def _product_by_columns(a: Tensor, b: Tensor, out: Tensor) -> None:
    """out = a @ b for outputs that lie column by column, by out^T = b^T @ a^T.

    In bfloat16 torch.bmm fills rows by a fast kernel, columns by loops thousands of times slower.
    """
    torch.bmm(b.mT, a.mT, out=out.mT)
