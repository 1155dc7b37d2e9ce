"""Where windows fall on an image: pure integers, no tensors.

Letters: K kernel size, S stride, P padding, D dilation, all per axis (height, width).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from types import EllipsisType
from typing import NamedTuple

Pair = tuple[int, int]


class Tap(NamedTuple):
    """One position inside the window, and the windows that find a pixel there."""

    row: int
    column: int
    outputs: tuple[EllipsisType, slice, slice]  # y[tap.outputs] reads
    pixels: tuple[EllipsisType, slice, slice]  # x[tap.pixels]


class Geometry(NamedTuple):
    """How a window slides over an image: everything but the numbers it holds."""

    kernel_size: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    def flatten(self) -> list[int]:
        """Nine integers: what an operator's signature can carry."""
        return [*self.kernel_size, *self.stride, *self.padding, *self.dilation, self.groups]

    @classmethod
    def unflatten(cls, numbers: Sequence[int]) -> Geometry:
        kh, kw, sh, sw, ph, pw, dh, dw, groups = numbers
        return cls((kh, kw), (sh, sw), (ph, pw), (dh, dw), groups)

    def check(self) -> None:
        """
        Raises:
            RuntimeError: a stride, dilation, kernel or number of groups below 1, or a negative
                padding.
        """
        if self.groups < 1:
            raise RuntimeError(f"groups must be at least 1, got {self.groups}")
        if min(self.kernel_size + self.stride + self.dilation) < 1 or min(self.padding) < 0:
            raise RuntimeError(
                f"kernel, stride and dilation must be at least 1 and padding at least 0, got {self}"
            )

    @property
    def span(self) -> Pair:
        """Pixels from a window's first to its last: D (K - 1) + 1."""
        (kh, kw), (dh, dw) = self.kernel_size, self.dilation
        return dh * (kh - 1) + 1, dw * (kw - 1) + 1

    def output_size(self, image_size: Sequence[int], ceil_mode: bool = False) -> Pair:
        """Number of windows per axis: floor((H + 2P - D(K-1) - 1) / S) + 1.

        With `ceil_mode` the division rounds up, but a last window that would start in the far
        padding is dropped (torch's and Caffe's rule for pooling).

        Raises:
            RuntimeError: the padded image is smaller than one window.
        """
        height, width = (self._output_length(axis, image_size[axis], ceil_mode) for axis in (0, 1))
        return height, width

    def _output_length(self, axis: int, length: int, ceil_mode: bool) -> int:
        span, stride, padding = self.span[axis], self.stride[axis], self.padding[axis]
        room = length + 2 * padding - span
        count = (-(-room // stride) if ceil_mode else room // stride) + 1
        if ceil_mode and (count - 1) * stride >= length + padding:
            count -= 1
        if count < 1:
            raise RuntimeError(
                f"a window {span} pixels {('high', 'wide')[axis]} does not fit an image of "
                f"{length} + 2*{padding} pixels: use a larger image, a smaller kernel or padding"
            )
        return count

    def taps(self, image_size: Sequence[int], output_size: Sequence[int]) -> tuple[Tap, ...]:
        """For each position inside the window: which outputs read which pixels through it.

        Windows that hang over the border are clipped, so nobody needs a padded copy of the image.
        """
        return _taps(self, tuple(image_size), tuple(output_size))

    def axes(self) -> tuple[Geometry, Geometry]:
        """The same windows one pixel wide, and one pixel high: for what is done axis by axis."""
        (kh, kw), (sh, sw), (ph, pw), (dh, dw), groups = self
        return (
            Geometry((kh, 1), (sh, 1), (ph, 0), (dh, 1), groups),
            Geometry((1, kw), (1, sw), (0, pw), (1, dw), groups),
        )

    def pixels_per_window(
        self, axis: int, length: int, outputs: int, count_padding: bool
    ) -> list[int]:
        """How many pixels each window covers along an axis, with or without the padding."""
        margin = self.padding[axis] if count_padding else 0
        starts = (p * self.stride[axis] - self.padding[axis] for p in range(outputs))
        return [min(s + self.span[axis], length + margin) - max(s, -margin) for s in starts]


@lru_cache(maxsize=4096)  # a network asks for the same few again and again
def _taps(geometry: Geometry, image_size: Pair, output_size: Pair) -> tuple[Tap, ...]:
    (rows, columns) = (
        [_reads(geometry, axis, i, image_size[axis], output_size[axis]) for i in range(size)]
        for axis, size in enumerate(geometry.kernel_size)
    )
    return tuple(
        Tap(i, j, (..., out_rows, out_columns), (..., in_rows, in_columns))
        for i, (out_rows, in_rows) in enumerate(rows)
        for j, (out_columns, in_columns) in enumerate(columns)
    )


def _reads(
    geometry: Geometry, axis: int, index: int, length: int, outputs: int
) -> tuple[slice, slice]:
    """Along one axis: (the outputs whose tap number `index` is inside the image, its pixels)."""
    stride = geometry.stride[axis]
    offset = index * geometry.dilation[axis] - geometry.padding[axis]  # pixel read by output 0
    first = max(0, -(offset // stride))  # first output whose pixel is >= 0
    stop = max(first, min(outputs, (length - 1 - offset) // stride + 1))  # pixel is < length
    begin = first * stride + offset
    return slice(first, stop), slice(begin, begin + (stop - first) * stride, stride)
