"""im2col and col2im: a convolution as one matrix product (chapter, "Implementation as Matrix
Multiplication").

The chapter's product is  W_row [C_out x K] @ X_col [K x pixels],  K = C * K_h * K_w.

Letters: N images in the batch, n of them at a time, G groups, C = C_in/G channels of a group.
Columns are K_h*K_w times larger than the image, so only as many images are stretched out at a
time as fit a small workspace; that is also what makes it fast (docs/performance.md).

Here the numbers lie channels last, so that a window row is a run of K_w*C of them in memory.
An image so thin that those runs are short is laid out as in flat_im2col.py instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import torch
from torch import Tensor

from .geometry import Geometry, Pair

CPU_WORKSPACE = 2 << 20  # bytes per thread: what stays in the cache from copy to product
CUDA_WORKSPACE = 256 << 20  # bytes: a few large products keep a GPU busy


def workspace_bytes(like: Tensor) -> int:
    return CUDA_WORKSPACE if like.is_cuda else CPU_WORKSPACE * torch.get_num_threads()


class Im2col:
    """The matrices of one convolution: their sizes and their order in memory.

    Columns are stored as (G, n, H_out, W_out, K_h, K_w, C): X_col is their transpose.
    """

    memory_format = torch.channels_last

    def __init__(self, image_size: Pair, in_channels: int, geometry: Geometry) -> None:
        """For images (N, in_channels, *image_size)."""
        self.geometry = geometry
        self.groups = geometry.groups
        self.image_size = image_size
        self.output_size = geometry.output_size(image_size)
        self.channels = in_channels // geometry.groups
        self.per_image = prod((in_channels, *geometry.kernel_size, *self.output_size))

    def chunks(self, like: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """A few images at a time: (which images, memory for their columns)."""
        step = max(1, workspace_bytes(like) // max(1, self.per_image * like.element_size()))
        total = like.shape[0]
        workspace = self.workspace(like, min(step, total))
        for start in range(0, total, step):
            images = slice(start, min(start + step, total))
            yield images, workspace[: (images.stop - start) * self.per_image]

    def workspace(self, like: Tensor, n: int) -> Tensor:
        return like.new_empty(n * self.per_image)

    def filled(self, x: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """A few images at a time: (which images, X_col).  Pointwise, X_col is the image itself."""
        if self.geometry.is_pointwise:
            yield slice(0, x.shape[0]), self.matrices(x)
            return
        for images, memory in self.chunks(x):
            self.im2col(x[images], memory)
            yield images, self.x_col(memory)

    def x_col(self, memory: Tensor) -> Tensor:
        """The columns as matrices (G, K, n * pixels)."""
        rows = prod(self.geometry.kernel_size) * self.channels
        return memory.view(self.groups, -1, rows).mT

    def _windows(self, memory: Tensor) -> Tensor:
        """The columns as (n, G, C, K_h, K_w, H_out, W_out)."""
        n = memory.numel() // self.per_image
        shape = (self.groups, n, *self.output_size, *self.geometry.kernel_size, self.channels)
        return memory.view(shape).permute(1, 0, 6, 4, 5, 2, 3)

    def im2col(self, x: Tensor, memory: Tensor) -> None:
        """Stretch every window out into a column.

            windows[n,g,c,i,j,p,q] = x[n, g*C + c, S p + D i - P, S q + D j - P]

        Args:
            x: (n, G*C, H, W); zeros are read outside it.
            memory: overwritten.
        """
        windows = self._windows(memory)
        (sh, sw), (dh, dw) = self.geometry.stride, self.geometry.dilation
        padded = self.padded(x)
        by_image, by_channel, by_row, by_pixel = padded.stride()
        strides = (
            by_image, self.channels * by_channel, by_channel,
            dh * by_row, dw * by_pixel, sh * by_row, sw * by_pixel,
        )  # fmt: skip
        windows.copy_(padded.as_strided(windows.shape, strides))  # a view until it is copied

    def col2im(self, memory: Tensor, x: Tensor) -> None:
        """The adjoint of `im2col`: every number is added back to the pixel it was read from.

        x[n, g*C + c, S p + D i - P, S q + D j - P] += windows[n,g,c,i,j,p,q]
        """
        windows, grouped = self._windows(memory), x.unflatten(1, (self.groups, self.channels))
        for tap in self.geometry.taps(self.image_size, self.output_size):
            grouped[tap.pixels].add_(windows[:, :, :, tap.row, tap.column][tap.outputs])

    def padded(self, x: Tensor) -> Tensor:
        """x with its zeros around it, in this layout; x itself if it needs neither."""
        (ph, pw), (n, channels, height, width) = self.geometry.padding, x.shape
        if not (ph or pw):
            return x.contiguous(memory_format=self.memory_format)
        padded = self.new_volume(x, (n, channels, height + 2 * ph, width + 2 * pw)).zero_()
        padded[:, :, ph : ph + height, pw : pw + width] = x
        return padded

    def matrices(self, volume: Tensor) -> Tensor:
        """An output volume (n, G*C', H_out, W_out) as matrices (G, C', n * pixels): a view."""
        rows = volume.permute(0, 2, 3, 1).flatten(0, 2)
        return rows.unflatten(1, (self.groups, -1)).permute(1, 2, 0)

    def product(self, w_row: Tensor, x_col: Tensor, volume: Tensor) -> None:
        """volume (n, G*C', H_out, W_out) = W_row @ X_col."""
        torch.bmm(w_row, x_col, out=self.matrices(volume))

    def transposed_product(self, w_row: Tensor, y: Tensor, x_col: Tensor) -> None:
        """X_col = W_row^T @ Y."""
        torch.bmm(w_row.mT, y, out=x_col)

    def add_product(self, w_row: Tensor, y: Tensor, x_col: Tensor) -> None:
        """W_row += Y @ X_col^T."""
        if w_row.dtype == y.dtype:
            w_row.baddbmm_(y, x_col.mT)
        else:
            w_row += torch.bmm(y, x_col.mT)

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
