"""Dense evaluation: a network slides over a larger image in one pass.

The features of neighbouring windows are the same numbers, computed once; so a pass over the larger
image takes a fraction of the multiplications that its windows take one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from .receptive_field import receptive_fields
from .surgery import SurgeryError, to_convolutional
from .walk import walk


class Dense(torch.nn.Module):
    """A network over images of any size from its own on: scores for each place of its window.

    Args:
        model: in evaluation mode afterwards; parameters are shared.
        image: shape of the images that it was made for, (C, H, W): its window.
        shifts: passes in each direction, over the image moved by a part of the stride.  Two give,
            in four passes, a map of half the stride.
    Raises:
        SurgeryError: the network cannot be made convolutional; or its stride is not divisible by
            `shifts`.
    """

    def __init__(self, model: torch.nn.Module, image: Sequence[int], shifts: int = 1) -> None:
        super().__init__()
        self.network = to_convolutional(model, image)
        self.window = tuple(image[1:])
        self.pass_stride = stride(model, image)
        if self.pass_stride % shifts:
            raise SurgeryError(
                f"the network has a stride of {self.pass_stride} pixels, which {shifts} shifts do "
                "not divide"
            )
        self.shifts = shifts

    @property
    def stride(self) -> int:
        """Pixels from one place of the map to the next."""
        return self.pass_stride // self.shifts

    def map(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, num_classes, H', W'), H' = floor((H - window) / stride) + 1.

        A convolution that pads rounds up, and has places beyond the last whole window: these are
        left out.
        """
        places = [
            (size - window) // self.stride + 1
            for size, window in zip(x.shape[2:], self.window, strict=True)
        ]
        result = None
        for row in range(min(self.shifts, places[0])):
            for column in range(min(self.shifts, places[1])):
                scores = self.network(x[:, :, row * self.stride :, column * self.stride :])
                if result is None:
                    result = scores.new_empty((*scores.shape[:2], *places))
                part = result[:, :, row :: self.shifts, column :: self.shifts]
                part.copy_(scores[:, :, : part.shape[2], : part.shape[3]])
        assert result is not None
        return result

    def forward(self, x: Tensor) -> Tensor:
        """The mean of the map, (N, num_classes) (Simonyan & Zisserman 2014, section 3.2)."""
        return self.map(x).mean((2, 3))


def stride(model: torch.nn.Module, image: Sequence[int]) -> int:
    """Pixels by which the window of the last volume before the head moves.

    Raises:
        SurgeryError: it is not known, or another one in height than in width.
    """
    calls = walk(model.eval(), (1, *image))
    fields = receptive_fields(calls)
    maps = [fields[call.name] for call in calls if call.shape is not None and len(call.shape) == 4]
    strides = [field.stride for field in maps if field is not None and field.stride != (0, 0)]
    if not strides or strides[-1][0] != strides[-1][1]:
        raise SurgeryError("this network's stride is not known, so its map cannot be placed")
    return strides[-1][0]


def crops(x: Tensor, window: Sequence[int], stride: int) -> Tensor:
    """The windows of images (N, C, H, W), one by one: (N places, C, *window), row by row."""
    places = x.unfold(2, window[0], stride).unfold(3, window[1], stride)  # N x C x H' x W' x h x w
    return places.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def multiply_adds(network: torch.nn.Module, shape: Sequence[int]) -> int:
    """Of one forward pass, counted on fake tensors."""
    parameter = next(network.parameters())
    with FakeTensorMode(allow_non_fake_inputs=True), FlopCounterMode(display=False) as counter:
        network(torch.empty(tuple(shape), dtype=parameter.dtype, device=parameter.device))
    return counter.get_total_flops() // 2


class Cost(NamedTuple):
    """Of one image, densely and crop by crop."""

    places: tuple[int, int]  # of the map
    passes: int
    multiply_adds: int
    multiply_adds_of_crops: int  # of all places, one by one

    def __str__(self) -> str:
        rows, columns = self.places
        times = self.multiply_adds_of_crops / self.multiply_adds
        return (
            f"{rows} x {columns} places in {self.passes} pass(es): "
            f"{self.multiply_adds / 1e9:.3g} G multiply-adds an image, "
            f"{times:.1f} times less than as {rows * columns} crops"
        )


def cost(model: torch.nn.Module, image: Sequence[int], size: int, shifts: int = 1) -> Cost:
    """What dense evaluation saves on images of size x size pixels."""
    dense = Dense(model, image, shifts)
    rows, columns = ((size - window) // dense.stride + 1 for window in image[1:])
    once = multiply_adds(dense, (1, image[0], size, size))
    crop = multiply_adds(model, (1, *image))
    passes = min(shifts, rows) * min(shifts, columns)
    return Cost((rows, columns), passes, once, rows * columns * crop)
