"""Receptive fields: the pixels of the image that a unit of a feature map can see.

Along an axis, unit p of a map sees the pixels

    offset + stride p,  ...,  offset + stride p + size - 1,

and behind a window of k units, d apart, that starts at unit S p - P, it sees

    size'   = size + d (k - 1) stride,
    stride' = S stride,
    offset' = offset - P stride.

Where branches meet, a unit sees the union of what it sees through each of them.  These are bounds
for what a network computes: a weight may be 0, and pixels beyond the border are padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .walk import INPUT, Call
from .windows import Window, windows

Pair = tuple[int, int]


class ReceptiveField(NamedTuple):
    """Of the units of a feature map; each (vertical, horizontal), in pixels of the image.

    `offset` is the first pixel of unit 0; negative, it lies that far in the padding.  A `stride` of
    0 says that every unit sees the same pixels, as behind a global average or a fully connected
    layer.  A vector that is a flattened map has the union of what its numbers see.
    """

    size: Pair
    stride: Pair
    offset: Pair

    def window(self, row: int, column: int) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) of the pixels of a unit, half-open; may exceed the image."""
        top = self.offset[0] + self.stride[0] * row
        left = self.offset[1] + self.stride[1] * column
        return top, left, top + self.size[0], left + self.size[1]


class Field(NamedTuple):
    """A receptive field along one axis."""

    size: int = 1
    stride: int = 1
    offset: int = 0

    @property
    def end(self) -> int:
        """The pixel behind the last one of unit 0."""
        return self.offset + self.size

    def through(self, window: Window) -> Field:
        """The field of a window over units with this field."""
        return Field(
            self.size + window.dilation * (window.kernel_size - 1) * self.stride,
            self.stride * window.stride,
            self.offset - self.stride * window.padding,
        )

    def whole(self, length: int) -> Field:
        """The union over the units of a map."""
        return self.through(Window(length, stride=0))


Fields = tuple[Field, Field]  # vertical, horizontal


def receptive_fields(calls: Sequence[Call]) -> dict[str, ReceptiveField | None]:
    """By the names of the calls; None where it is unknown.

    That is behind what the walk could not trace, behind functions that windows.py does not know,
    and where the window does not move with the unit by whole pixels, as behind upsampling.
    """
    fields: dict[str, Fields | None] = {INPUT: (Field(), Field())}
    for call in calls:
        fields[call.name] = _fields(call, [fields[name] for name in call.inputs])
    return {call.name: _join(fields[call.name]) for call in calls}


def _fields(call: Call, inputs: Sequence[Fields | None]) -> Fields | None:
    known = [axes for axes in inputs if axes is not None]
    if not known or len(known) < len(inputs) or not call.is_traced:
        return None
    if not any(field.stride for axes in known for field in axes):  # whatever it does to them
        return _span([axes[0] for axes in known]), _span([axes[1] for axes in known])
    over = windows(call)
    if over is None:
        return None
    joined = []
    for axis, window in zip((0, 1), over, strict=True):
        lengths = [shape[axis - 2] for shape in call.in_shapes]
        field = _union([axes[axis] for axes in known], lengths)
        if field is None:
            return None
        joined.append(field.through(window))
    vertical, horizontal = joined
    return vertical, horizontal


def _union(fields: Sequence[Field], lengths: Sequence[int]) -> Field | None:
    """What a unit sees through maps of some lengths; a map of length 1 is there for all units."""
    longest = max(lengths)
    fields = [
        field.whole(length) if length < longest else field
        for field, length in zip(fields, lengths, strict=True)
    ]
    if len({field.stride for field in fields}) == 1:
        return _span(fields)
    fixed = [field for field in fields if field.stride == 0]
    everything = _span([field.whole(longest) for field in fields])
    return everything if fixed and _span(fixed) == everything else None


def _span(fields: Sequence[Field]) -> Field:
    """The union of fields with one stride."""
    offset = min(field.offset for field in fields)
    return Field(max(field.end for field in fields) - offset, fields[0].stride, offset)


def _join(fields: Fields | None) -> ReceptiveField | None:
    if fields is None:
        return None
    (size_v, stride_v, offset_v), (size_h, stride_h, offset_h) = fields
    return ReceptiveField((size_v, size_h), (stride_v, stride_h), (offset_v, offset_h))
