"""im2col and col2im, channels last and a chunk at a time (chapter, "Implementation as Matrix
Multiplication").

The chapter's product is  W_row [C_out x K] @ X_col [K x pixels],  K = C * K_h * K_w.

Letters: N images in the batch, n of them at a time, G groups, C = C_in/G channels of a group,
R of the H_out rows of windows at a time.  Columns are K_h*K_w times larger than the image, so only
as many images, or rows of one image, are stretched out at a time as fit a small workspace; that is
also what makes it fast (docs/performance.md).

Here channels are adjacent in memory, so that a row of a window is one run of K_w*C values.  Images
with so few channels that those runs are short are laid out as in im2col_nchw.py instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, prod
from typing import NamedTuple

import torch
from torch import Tensor

from ..interop.dry_run import few
from ..interop.memory_format import empty_images
from ..ops.geometry import Geometry, Pair
from .im2col_loops import add_windows
from .jit import array, parallel_for
from .workspace import workspace, workspace_bytes


class Chunk(NamedTuple):
    """The windows that are stretched out at a time: of several images, or some rows of one."""

    images: slice
    rows: slice

    @property
    def size(self) -> Pair:
        """(n, R)."""
        return self.images.stop - self.images.start, self.rows.stop - self.rows.start

    def of(self, y: Tensor) -> Tensor:
        """The chunk's part of outputs (N, C, H_out, W_out)."""
        return y[self.images, :, self.rows]


class Im2col:
    """The matrices of one convolution: their sizes and their order in memory.

    Outputs that are channels last take a product for each group, with X_col the transpose of
    columns (G, n, R, W_out, K_h, K_w, C); contiguous outputs a product for each group of each
    image, of columns (n, G, R, W_out, K_h, K_w, C).
    """

    def __init__(
        self,
        image_size: Sequence[int],
        in_channels: int,
        geometry: Geometry,
        channels_last: bool = True,
    ) -> None:
        """For images (N, in_channels, *image_size), and outputs of a memory format."""
        self.geometry, self.channels_last = geometry, channels_last
        self.groups = geometry.groups
        self.output_size = geometry.output_size(image_size)
        self.channels = in_channels // geometry.groups

    def numel(self, rows: int) -> int:
        """The size of the columns of some rows of one image."""
        per_window = self.groups * self.channels * prod(self.geometry.kernel_size)
        return per_window * rows * self.output_size[1]

    def chunks(self, like: Tensor) -> Iterator[tuple[Chunk, Tensor]]:
        """All windows of a batch, a chunk at a time, with memory for its columns."""
        (height, _), total = self.output_size, like.shape[0]
        budget = max(1, workspace_bytes(like) // like.element_size())
        n = budget // max(1, self.numel(height))
        rows = height if n else max(1, budget * height // self.numel(height))
        n, rows = _equal_parts(total, max(1, n)), _equal_parts(height, rows)
        memory = workspace(like, n * self.numel(rows))
        for first in few(range(0, total, n)):
            images = slice(first, min(first + n, total))
            for top in few(range(0, height, rows)):
                chunk = Chunk(images, slice(top, min(top + rows, height)))
                yield chunk, memory[: chunk.size[0] * self.numel(chunk.size[1])]

    def filled(self, x: Tensor) -> Iterator[tuple[Chunk, Tensor]]:
        """All windows, a chunk at a time, with their X_col."""
        for chunk, memory in self.chunks(x):
            if chunk.rows.start == 0:
                padded = self.padded(x[chunk.images])
            self.im2col(padded, chunk, memory)
            yield chunk, self.x_col(memory, chunk)

    def x_col(self, memory: Tensor, chunk: Chunk) -> Tensor:
        """The columns as matrices (G, K, n * pixels), or (n * G, K, pixels)."""
        n = 1 if self.channels_last else chunk.size[0]
        size = self.channels * prod(self.geometry.kernel_size)
        return memory.view(n * self.groups, -1, size).mT

    def y_row(self, y: Tensor) -> Tensor:
        """A chunk's outputs (n, G*C', R, W_out) as (G, C', n * pixels), or (n * G, C', pixels).

        A view if they lie so, otherwise a copy.
        """
        if self.channels_last:
            return as_matrices(y, self.groups)
        return y.flatten(2).unflatten(1, (self.groups, -1)).flatten(0, 1)

    def windows(self, memory: Tensor, chunk: Chunk) -> Tensor:
        """The columns as (n, G, C, K_h, K_w, R, W_out)."""
        n, rows = chunk.size
        shape = rows, self.output_size[1], *self.geometry.kernel_size, self.channels
        if self.channels_last:
            columns = memory.view(self.groups, n, *shape).transpose(0, 1)
        else:
            columns = memory.view(n, self.groups, *shape)
        return columns.permute(0, 1, 6, 4, 5, 2, 3)

    def im2col(self, padded: Tensor, chunk: Chunk, memory: Tensor) -> None:
        """Stretch every window of the chunk out into a column.

            windows[n,g,c,i,j,p,q] = padded[n, g*C + c, S p + D i, S q + D j]

        Args:
            padded: the chunk's images, (n, G*C, H + 2P, W + 2P), as `self.padded` makes them.
            memory: overwritten.
        """
        windows = self.windows(memory, chunk)
        (sh, sw), (dh, dw) = self.geometry.stride, self.geometry.dilation
        by_image, by_channel, by_row, by_pixel = padded.stride()
        strides = (
            by_image, self.channels * by_channel, by_channel,
            dh * by_row, dw * by_pixel, sh * by_row, sw * by_pixel,
        )  # fmt: skip
        first = padded[:, :, sh * chunk.rows.start :]
        windows.copy_(first.as_strided(windows.shape, strides))  # a view until it is copied

    def padded(self, x: Tensor) -> Tensor:
        """x with its zeros around it, in this layout; x itself if it needs neither."""
        (ph, pw), (n, channels, height, width) = self.geometry.padding, x.shape
        if not (ph or pw):
            return x.contiguous(memory_format=torch.channels_last)
        shape = n, channels, height + 2 * ph, width + 2 * pw
        padded = empty_images(x, shape, channels_last=True).zero_()
        padded[:, :, ph : ph + height, pw : pw + width] = x
        return padded

    def w_row(self, weight: Tensor) -> Tensor:
        """Filters (C_out, C, K_h, K_w) as W_row (G, C', K), K in the order of the columns."""
        return weight.permute(0, 2, 3, 1).flatten(1).unflatten(0, (self.groups, -1))

    def filters(self, w_row: Tensor) -> Tensor:
        """The inverse of `w_row`."""
        kernel = self.geometry.kernel_size
        return w_row.flatten(0, 1).unflatten(1, (*kernel, -1)).permute(0, 3, 1, 2)


def as_matrices(y: Tensor, groups: int, name: str = "matrices") -> Tensor:
    """A chunk's outputs (n, G*C', R, W_out) as matrices (G, C', n * pixels).

    A view if they are channels last, otherwise a copy in the workspace of that name.
    """
    if y.stride(1) != 1:
        y = scratch_pixels(y, name).copy_(y)
    return y.permute(0, 2, 3, 1).flatten(0, 2).unflatten(1, (groups, -1)).permute(1, 2, 0)


def scratch_pixels(y: Tensor, name: str = "pixels") -> Tensor:
    """Channels-last memory for outputs like y, (n, C, R, W_out), in the workspace of that name."""
    n, channels, rows, width = y.shape
    pixels = workspace(y, y.numel(), name).view(n, rows, width, channels)
    return pixels.permute(0, 3, 1, 2)


def repeated(w_row: Tensor, batch: int) -> Tensor:
    """W_row (G, ...) for so many products; if G = 1 or there are no more, nothing is copied."""
    return w_row.expand(batch // len(w_row), *w_row.shape).flatten(0, 1)


def col2im(windows: Tensor, x: Tensor, geometry: Geometry, top: int) -> None:
    """x[n, g*C + c, S p + D i - P, S q + D j - P] += windows[n,g,c,i,j,p,q].

    The adjoint of `Im2col.im2col`: every value is added back to the pixel it was read from.

    Args:
        windows: (n, G, C, K_h, K_w, R, W_out), of the R rows of windows from `top` on.
        x: (n, G*C, H, W), channels last.
    """
    pixels, channels = x.permute(0, 2, 3, 1), windows.shape[2]
    columns = windows.permute(1, 0, 5, 6, 3, 4, 2).flatten(5)
    arrays = array(columns), array(pixels.flatten(2))
    constants = tuple(geometry.flatten()), channels, top
    parallel_for(add_windows, len(x), columns.numel(), *arrays, *constants)


def col2im_by_taps(windows: Tensor, x: Tensor, geometry: Geometry, top: int) -> None:
    """`col2im` in torch's operations, one for each position inside the window."""
    grouped = x.unflatten(1, (geometry.groups, -1))
    (ph, pw), sh = geometry.padding, geometry.stride[0]
    part = geometry._replace(padding=(ph - sh * top, pw))  # the rows as an image of their own
    for tap in part.taps(x.shape[2:], windows.shape[5:]):
        grouped[tap.pixels].add_(windows[:, :, :, tap.row, tap.column][tap.outputs])


def _equal_parts(total: int, most: int) -> int:
    """The size of equal parts, as few as have no more than `most` each."""
    return max(1, ceil(total / max(1, ceil(total / most))))
