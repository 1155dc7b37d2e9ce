"""im2col and col2im: a convolution as one matrix product (chapter, "Implementation as Matrix
Multiplication").

The chapter's product is  W_row [C_out x K] @ X_col [K x pixels],  K = C * K_h * K_w.
The columns can lie in memory in two orders, and a strided view makes them one code:

    channels last    (G, n, H_out, W_out, K_h, K_w, C)   copied in runs of K_w*C numbers
    channels first   (n, G, C, K_h, K_w, H_out, W_out)   copied in runs of W_out numbers

Letters: N images in the batch, n of them at a time, G groups, C = C_in/G channels of a group.
Columns are K_h*K_w times larger than the image, so only as many images are stretched out at a
time as fit a small workspace; that is also what makes it fast (docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import torch
from torch import Tensor

from .geometry import Geometry

CPU_WORKSPACE = 4 << 20  # bytes: what stays in the cache between the copy and the product
CUDA_WORKSPACE = 256 << 20  # bytes: a few large products keep a GPU busy
LONG_RUN = 16  # numbers: a thin image, whose runs are shorter, is faster channels first


def workspace_bytes(like: Tensor) -> int:
    return CUDA_WORKSPACE if like.is_cuda else CPU_WORKSPACE


class Columns:
    """The matrices of one convolution: their sizes, their order in memory, their workspace."""

    def __init__(
        self, image_size: Sequence[int], in_channels: int, geometry: Geometry, run: int
    ) -> None:
        """For images (N, in_channels, *image_size).

        Args:
            run: how many numbers lie side by side when columns are copied channels last.
        """
        self.geometry = geometry
        self.image_size = tuple(image_size)
        self.output_size = geometry.output_size(image_size)
        self.channels = in_channels // geometry.groups
        self.channels_last = geometry.is_pointwise or run > LONG_RUN
        self.memory_format = torch.channels_last if self.channels_last else torch.contiguous_format
        self.per_image = prod((in_channels, *geometry.kernel_size, *self.output_size))

    def chunks(self, like: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """A few images at a time: (which images, their columns, the same memory as X_col).

        columns: (n, G, C, K_h, K_w, H_out, W_out), not yet filled.
        x_col: (batch, K, pixels): channels last, one matrix a group, with the pixels of all n
            images side by side; channels first, one matrix for each group of each image.
        """
        step = max(1, workspace_bytes(like) // max(1, self.per_image * like.element_size()))
        total = like.shape[0]
        workspace = like.new_empty(min(step, total) * self.per_image)
        for start in range(0, total, step):
            images = slice(start, min(start + step, total))
            yield images, *self._views(workspace, images.stop - images.start)

    def _views(self, workspace: Tensor, n: int) -> tuple[Tensor, Tensor]:
        (kh, kw), (ho, wo) = self.geometry.kernel_size, self.output_size
        groups, c = self.geometry.groups, self.channels
        memory = workspace[: n * self.per_image]
        if self.channels_last:
            columns = memory.view(groups, n, ho, wo, kh, kw, c).permute(1, 0, 6, 4, 5, 2, 3)
            return columns, memory.view(groups, n * ho * wo, kh * kw * c).mT
        columns = memory.view(n, groups, c, kh, kw, ho, wo)
        return columns, memory.view(n * groups, c * kh * kw, ho * wo)

    def filled(self, x: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """A few images at a time: (which images, X_col).  Pointwise, X_col is the image itself."""
        if self.geometry.is_pointwise:
            yield slice(0, x.shape[0]), self.matrices(x)
            return
        for images, columns, x_col in self.chunks(x):
            im2col(x[images], columns, self)
            yield images, x_col

    def matrices(self, volume: Tensor) -> Tensor:
        """A volume (n, G*C', H', W') as matrices (batch, C', pixels): a view, in our layout."""
        if self.channels_last:
            rows = volume.permute(0, 2, 3, 1).flatten(0, 2)
            return rows.unflatten(1, (self.geometry.groups, -1)).permute(1, 2, 0)
        return volume.flatten(2).unflatten(1, (self.geometry.groups, -1)).flatten(0, 1)

    def repeat(self, w_row: Tensor, batch: int) -> Tensor:
        """W_row (G, C_out/G, K) for every matrix of the batch; if G = 1 nothing is copied."""
        return w_row.expand(batch // len(w_row), *w_row.shape).flatten(0, 1)

    def w_row(self, weight: Tensor) -> Tensor:
        """Filters (C_out, C, K_h, K_w) as W_row (G, C_out/G, K), K in the order of the columns."""
        if self.channels_last:
            weight = weight.permute(0, 2, 3, 1)
        return weight.flatten(1).unflatten(0, (self.geometry.groups, -1))

    def filters(self, w_row: Tensor) -> Tensor:
        """The inverse of `w_row`."""
        kh, kw = self.geometry.kernel_size
        if self.channels_last:
            return w_row.flatten(0, 1).unflatten(1, (kh, kw, -1)).permute(0, 3, 1, 2)
        return w_row.flatten(0, 1).unflatten(1, (-1, kh, kw))


def im2col(image: Tensor, columns: Tensor, layout: Columns) -> None:
    """Stretch every window out into a column.

        columns[n,g,c,i,j,p,q] = image[n, g*C + c, S p + D i - P, S q + D j - P]

    Args:
        image: (n, G*C, H, W); zeros are read outside it.
        columns: (n, G, C, K_h, K_w, H_out, W_out), overwritten.
    """
    geometry = layout.geometry
    (sh, sw), (ph, pw), (dh, dw) = geometry.stride, geometry.padding, geometry.dilation
    n, channels, height, width = image.shape
    if ph or pw:
        size = (n, channels, height + 2 * ph, width + 2 * pw)
        padded = new_volume(image, size, layout).zero_()
        padded[:, :, ph : ph + height, pw : pw + width] = image
    else:
        padded = image.contiguous(memory_format=layout.memory_format)
    by_image, by_channel, by_row, by_pixel = padded.stride()
    windows = padded.as_strided(  # overlapping windows, as a view: nothing is copied yet
        columns.shape,
        (by_image, layout.channels * by_channel, by_channel,
         dh * by_row, dw * by_pixel, sh * by_row, sw * by_pixel),
    )  # fmt: skip
    columns.copy_(windows)


def col2im(columns: Tensor, image: Tensor, layout: Columns) -> None:
    """The adjoint of `im2col`: every number is added back to the pixel it was read from.

        image[n, g*C + c, S p + D i - P, S q + D j - P] += columns[n,g,c,i,j,p,q]

    Args:
        columns: (n, G, C, K_h, K_w, H_out, W_out).
        image: (n, G*C, H, W), added to.
    """
    grouped = image.unflatten(1, (layout.geometry.groups, layout.channels))
    for tap in layout.geometry.taps(layout.image_size, layout.output_size):
        grouped[tap.pixels].add_(columns[:, :, :, tap.row, tap.column][tap.outputs])


def new_volume(like: Tensor, shape: Sequence[int], layout: Columns) -> Tensor:
    """An uninitialised volume in the layout's memory format."""
    return torch.empty(
        tuple(shape), dtype=like.dtype, device=like.device, memory_format=layout.memory_format
    )
