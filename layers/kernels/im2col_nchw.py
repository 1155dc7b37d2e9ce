"""im2col channels first: for images with few channels, whose every tap is a shift of a flat vector.

With few channels a row of a window is a short run in memory, and copying it costs more than using
it.  At stride 1 the image itself has longer runs.  Count the positions of a window along whole rows
of the padded image, W of them to a row, not only the W_out at which it fits: then moving from one
position to the next is moving one value on, and what a tap (i, j) reads at all positions is

    flat[D i W + D j : D i W + D j + L],   L = (R - 1) W + W_out,

one run of L values where there were R runs of W_out.  The K_w - 1 positions per row at which
the window straddles the border are computed and thrown away (as outputs), or are zero (as
gradients).

Letters as in im2col.py; columns are stored as (n, G, C, K_h, K_w, pitch), pitch >= L.

`Im2colNCHW` does so for the outputs and the gradient with respect to the filters, `Col2imNCHW` half
of it for the gradient with respect to the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from ..ops.geometry import Geometry
from .im2col import Chunk, Im2col

LINE = 16  # float32 values of a cache line


class Im2colNCHW(Im2col):
    """The same matrices as `Im2col`, one for each group of each image."""

    def __init__(
        self,
        image_size: Sequence[int],
        in_channels: int,
        geometry: Geometry,
        channels_last: bool = False,
    ) -> None:
        super().__init__(image_size, in_channels, geometry, channels_last)
        (height, width), (ph, pw) = image_size, geometry.padding
        self.padded_size = height + 2 * ph, width + 2 * pw

    def length(self, rows: int) -> int:
        """L."""
        return (rows - 1) * self.padded_size[1] + self.output_size[1]

    def pitch(self, rows: int) -> int:
        """L, rounded up so that rows start at cache lines: products are faster."""
        return _whole_lines(self.length(rows))

    def numel(self, rows: int) -> int:
        kh, kw = self.geometry.kernel_size
        return self.groups * self.channels * kh * kw * self.pitch(rows)

    def chunks(self, like: Tensor) -> Iterator[tuple[Chunk, Tensor]]:
        ends = None  # the values beyond L, which stay zero
        for chunk, memory in super().chunks(like):
            if ends != (ends := chunk.size[1]):
                memory.view(-1, self.pitch(ends))[:, self.length(ends) :].zero_()
            yield chunk, memory

    def columns(self, memory: Tensor, chunk: Chunk) -> Tensor:
        """The columns as (n, G, C, K_h, K_w, pitch)."""
        n, rows = chunk.size
        kernel = self.geometry.kernel_size
        return memory.view(n, self.groups, self.channels, *kernel, self.pitch(rows))

    def x_col(self, memory: Tensor, chunk: Chunk) -> Tensor:
        """The columns as matrices (n*G, K, pitch)."""
        return self.columns(memory, chunk).flatten(2, 4).flatten(0, 1)

    def in_rows(self, flat: Tensor, rows: int) -> Tensor:
        """(n*G, C', pitch) as (n, G*C', R, W_out), a view if G = 1 or C' is not adjacent."""
        maps = flat.unflatten(0, (-1, self.groups)).flatten(1, 2)
        *strides, by_pixel = maps.stride()
        shape = (*maps.shape[:-1], rows, self.output_size[1])
        return maps.as_strided(shape, (*strides, self.padded_size[1] * by_pixel, by_pixel))

    def padded(self, x: Tensor) -> Tensor:
        """x with its zeros around it, contiguous; x itself if it needs neither."""
        (ph, pw), (n, channels, height, width) = self.geometry.padding, x.shape
        if not (ph or pw):
            return x.contiguous()
        padded = x.new_zeros(n, channels, *self.padded_size)
        padded[:, :, ph : ph + height, pw : pw + width] = x
        return padded

    def im2col(self, padded: Tensor, chunk: Chunk, memory: Tensor) -> None:
        """columns[n,g,c,i,j,l] = flat[n, g*C + c, D i W + D j + l]."""
        columns = self.columns(memory, chunk)[..., : self.length(chunk.size[1])]
        by_image, by_channel, _, _ = padded.stride()
        (dh, dw), width = self.geometry.dilation, self.padded_size[1]
        strides = (by_image, self.channels * by_channel, by_channel, dh * width, dw, 1)
        first = padded[:, :, chunk.rows.start :]
        columns.copy_(first.as_strided(columns.shape, strides))

    def y_row(self, y: Tensor) -> Tensor:
        """(n, G*C', R, W_out) as (n*G, C', pitch), zero where a window would straddle."""
        (n, channels, rows, _), pitch = y.shape, self.pitch(y.shape[2])
        if self.channels_last:
            flat = y.new_zeros(n, pitch, channels).mT
        else:
            flat = y.new_zeros(n, channels, pitch)
        flat = flat.unflatten(1, (self.groups, -1)).flatten(0, 1)
        self.in_rows(flat, rows).copy_(y)
        return flat

    def w_row(self, weight: Tensor) -> Tensor:
        return weight.flatten(1).unflatten(0, (self.groups, -1))

    def filters(self, w_row: Tensor) -> Tensor:
        return w_row.flatten(0, 1).unflatten(1, (-1, *self.geometry.kernel_size))


class Col2imNCHW(Im2col):
    """The gradient with respect to a thin image: a row's taps by im2col, the rows by col2im.

        sums[c,i,l] = sum over co, j of  w[co,c,i,j] * g[co, l - D j]
        x[c, D i W + l] += sums[c,i,l]

    The product with all K_h*K_w taps and its col2im would write and read K_w times as many sums.
    Positions count along whole rows again: l = p W + q, with g zero where a window straddles.
    Of `Im2col` this is the division into chunks; the matrices are its own.
    """

    def __init__(
        self, image_size: Sequence[int], in_channels: int, out_channels: int, geometry: Geometry
    ) -> None:
        super().__init__(image_size, in_channels, geometry)
        self.filters_per_group = out_channels // geometry.groups
        self.width = image_size[1] + 2 * geometry.padding[1]

    def pitch(self, rows: int) -> int:
        return _whole_lines(rows * self.width)

    def sums_numel(self, rows: int) -> int:
        """The size of the sums of some rows of one image."""
        return self.groups * self.channels * self.geometry.kernel_size[0] * self.pitch(rows)

    def numel(self, rows: int) -> int:
        """The size of those, and of the columns of g."""
        columns = self.filters_per_group * self.geometry.kernel_size[1] * self.pitch(rows)
        return self.sums_numel(rows) + self.groups * columns

    def split(self, memory: Tensor, chunk: Chunk) -> tuple[Tensor, Tensor]:
        """A chunk's memory as sums (n*G, C * K_h, pitch) and columns (n*G, C' * K_w, pitch)."""
        n, rows = chunk.size
        shape = n * self.groups, -1, self.pitch(rows)
        sums, columns = memory.tensor_split([n * self.sums_numel(rows)])
        return sums.view(shape), columns.view(shape)

    def w_row(self, weight: Tensor) -> Tensor:
        """Filters as (G, C_out/G * K_w, C * K_h), the last tap of a row first."""
        groups = weight.unflatten(0, (self.groups, -1)).flip(4)
        return groups.permute(0, 1, 4, 2, 3).flatten(3).flatten(1, 2)

    def im2col_rows(self, g: Tensor, columns: Tensor) -> None:
        """columns[n,g,co,j,l] = flat[n, g*Co + co, l - D j], j from the last tap to the first."""
        n, filters, rows, width = g.shape
        taps, right = self.geometry.kernel_size[1], self.geometry.dilation[1]
        pitch = self.pitch(rows)
        before = right * (taps - 1)  # zeros, for the first tap's last shift
        flat = g.new_zeros(n, filters, before + pitch)
        inside = flat[:, :, before : before + rows * self.width].unflatten(2, (rows, -1))
        inside[..., :width] = g
        shifts = flat.as_strided((n, filters, taps, pitch), (*flat.stride()[:2], right, 1))
        columns.view(n, filters, taps, pitch).copy_(shifts)

    def col2im_rows(self, sums: Tensor, chunk: Chunk, x: Tensor) -> None:
        """Row i of the taps D i rows further down; then the padding goes.

        Args:
            sums: (n*G, C * K_h, pitch).
            x: the chunk's images, (n, G*C, H, W), contiguous; added to.
        """
        (ph, pw), down, rows = self.geometry.padding, self.geometry.dilation[0], chunk.size[1]
        height, top = x.shape[2], chunk.rows.start
        part = x  # of the padded image: the rows that this chunk's windows see
        if ph or pw:
            height, top = rows + self.geometry.span[0] - 1, 0
            part = x.new_zeros(*x.shape[:2], height, self.width)
        flat = part.view(*x.shape[:2], -1)
        by_row = sums.view(*x.shape[:2], -1, self.pitch(rows))[..., : rows * self.width]
        for i, run in enumerate(by_row.unbind(2)):
            flat.narrow(2, (top + i * down) * self.width, rows * self.width).add_(run)
        if part is not x:
            above = chunk.rows.start - ph  # the row of x on which the first of `part` lies
            first, stop = max(0, above), min(x.shape[2], above + height)
            if first < stop:  # not all of it is padding
                inside = part[:, :, first - above : stop - above, pw : pw + x.shape[3]]
                x[:, :, first:stop].add_(inside)


def _whole_lines(numel: int) -> int:
    return -(-numel // LINE) * LINE
