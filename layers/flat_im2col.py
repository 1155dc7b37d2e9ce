"""im2col for thin images: channels first, every tap one shift of a flat vector.

With few channels a window row is a short run of numbers, and copying it costs more than using it.
At stride 1 the image itself has longer runs.  Count the positions of a window along whole rows of
the padded image, W of them to a row, not only the W_out at which it fits: then moving from one
position to the next is moving one number on, and what a tap (i, j) reads at all positions is

    flat[D i W + D j : D i W + D j + L],   L = (H_out - 1) W + W_out,

one run of L numbers where there were H_out runs of W_out.  The K_w - 1 positions per row at which
the window straddles the border are computed and thrown away (as outputs), or are zero (as
gradients).

Letters as in im2col.py; columns are stored as (n, G, C, K_h, K_w, pitch), pitch >= L.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .geometry import Geometry, Pair
from .im2col import Im2col


class FlatIm2col(Im2col):
    """The same matrices as `Im2col`, one for each group of each image."""

    memory_format = torch.contiguous_format

    def __init__(self, image_size: Pair, in_channels: int, geometry: Geometry) -> None:
        super().__init__(image_size, in_channels, geometry)
        (height, width), (ph, pw) = image_size, geometry.padding
        (kh, kw), (ho, wo) = geometry.kernel_size, self.output_size
        self.padded_size = height + 2 * ph, width + 2 * pw
        self.length = (ho - 1) * self.padded_size[1] + wo
        self.pitch = -(-self.length // 16) * 16  # rows start at cache lines: products are faster
        self.per_image = in_channels * kh * kw * self.pitch

    def workspace(self, like: Tensor, n: int) -> Tensor:
        memory = super().workspace(like, n)
        memory.view(-1, self.pitch)[:, self.length :].zero_()  # and stays zero
        return memory

    def _shape(self, memory: Tensor) -> tuple[int, ...]:
        n = memory.numel() // self.per_image
        return n, self.groups, self.channels, *self.geometry.kernel_size, self.pitch

    def _shifts(self) -> Pair:
        """How far the flat vector moves from tap to tap: a row down, a pixel right."""
        (dh, dw), width = self.geometry.dilation, self.padded_size[1]
        return dh * width, dw

    def x_col(self, memory: Tensor) -> Tensor:
        """The columns as matrices (n*G, K, pitch)."""
        return memory.view(self._shape(memory)).flatten(2, 4).flatten(0, 1)

    def _in_rows(self, flat: Tensor) -> Tensor:
        """(..., pitch) as (..., H_out, W_out), a view."""
        strides = (*flat.stride()[:-1], self.padded_size[1], 1)
        return flat.as_strided((*flat.shape[:-1], *self.output_size), strides)

    def im2col(self, x: Tensor, memory: Tensor) -> None:
        """columns[n,g,c,i,j,l] = flat[n, g*C + c, D i W + D j + l]."""
        columns = memory.view(self._shape(memory))[..., : self.length]
        padded = self.padded(x)
        by_image, by_channel, _, _ = padded.stride()
        strides = (by_image, self.channels * by_channel, by_channel, *self._shifts(), 1)
        columns.copy_(padded.as_strided(columns.shape, strides))

    def col2im(self, memory: Tensor, x: Tensor) -> None:
        """flat[n, g*C + c, D i W + D j + l] += columns[n,g,c,i,j,l]; then the padding goes."""
        columns, (down, right) = memory.view(self._shape(memory)), self._shifts()
        (height, width), (ph, pw) = self.image_size, self.geometry.padding
        size = (len(x), self.groups, self.channels, *self.padded_size)
        padded = x if not (ph or pw) else x.new_zeros(size)
        flat, (kh, kw) = padded.view(*size[:3], -1), self.geometry.kernel_size
        starts = (i * down + j * right for i in range(kh) for j in range(kw))
        taps = columns.narrow(5, 0, self.length).flatten(3, 4).unbind(3)
        for start, tap in zip(starts, taps, strict=True):
            flat.narrow(3, start, self.length).add_(tap)
        if padded is not x:
            x += padded.flatten(1, 2)[:, :, ph : ph + height, pw : pw + width]

    def matrices(self, volume: Tensor) -> Tensor:
        """(n, G*C', H_out, W_out) as (n*G, C', pitch), zero where a window would straddle."""
        flat = volume.new_zeros(*volume.shape[:2], self.pitch)
        self._in_rows(flat).copy_(volume)
        return flat.unflatten(1, (self.groups, -1)).flatten(0, 1)

    def product(self, w_row: Tensor, x_col: Tensor, volume: Tensor) -> None:
        flat = torch.bmm(self._repeat(w_row, len(x_col)), x_col)
        volume.copy_(self._in_rows(flat.view(*volume.shape[:2], self.pitch)))

    def transposed_product(self, w_row: Tensor, y: Tensor, x_col: Tensor) -> None:
        torch.bmm(self._repeat(w_row, len(x_col)).mT, y, out=x_col)

    def add_product(self, w_row: Tensor, y: Tensor, x_col: Tensor) -> None:
        """A product for each image, then their sum."""
        w_row += torch.bmm(y, x_col.mT).unflatten(0, (-1, self.groups)).sum(0)

    def _repeat(self, w_row: Tensor, batch: int) -> Tensor:
        """W_row for every image; if G = 1 nothing is copied."""
        return w_row.expand(batch // self.groups, *w_row.shape).flatten(0, 1)

    def w_row(self, weight: Tensor) -> Tensor:
        return weight.flatten(1).unflatten(0, (self.groups, -1))

    def filters(self, w_row: Tensor) -> Tensor:
        return w_row.flatten(0, 1).unflatten(1, (-1, *self.geometry.kernel_size))
