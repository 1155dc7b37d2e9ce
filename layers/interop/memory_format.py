"""Where the numbers of an output or a gradient lie in memory: where torch.nn's lie.

torch decides operator by operator, and most ask one question about strides, `is_channels_last`:

    operator                 y                        dx
    conv2d                   x or the filters are     as y, and dw too: `conv2d_is_channels_last`
    max, average pooling     x is                     x is
    ... average of all       x is                     never
    max_unpool2d             x is                     never
    batch_norm               x is                     x is
    lp_pool2d                |x| is                   |x| is: `lp_pool2d_is_channels_last`
    local_response_norm      as x without gaps        as dy without gaps: `elementwise_like`
    relu, tanh, dropout      as x without gaps        as y and dy
    softmax, cross_entropy   never                    never

Upstream gradients otherwise do not matter.  An empty batch is never channels last.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def is_channels_last(x: Tensor) -> bool:
    """Whether x is (N, C, H, W) with strides that grow from channels to columns, rows and images.

    That is `suggest_memory_format()` of torch's C++, which outputs follow.  Gaps between the
    numbers do not matter.  Strides that fit both formats, as those of single pixels or of a single
    channel may, do unless they are the contiguous ones: then it is False.
    """
    if x.dim() != 4:
        return False
    (n, c, h, w), (image, channel, row, column) = x.shape, x.stride()
    return (
        column >= channel * c
        and row >= column * w
        and image >= row * h
        and row * h != channel  # else all strides are the same, which torch takes for contiguous
        and channel != 0
        and n * c * h * w != 0
    )


def conv2d_is_channels_last(x: Tensor, weight: Tensor) -> bool:
    """Of y, dx and dw of a convolution, whatever the upstream gradient; not of an empty batch.

    cuDNN's convolutions of float64 are always contiguous, a CPU's are not.  Differs: torch makes
    complex convolutions of real ones, and contiguous gradients of theirs.
    """
    if x.is_cuda and x.dtype == torch.float64:
        return False
    return is_channels_last(x) or (is_channels_last(weight) and x.shape[0] != 0)


def lp_pool2d_is_channels_last(x: Tensor, size: Sequence[int]) -> bool:
    """Of y with size = (H_out, W_out), and of dx with size = (H, W).

    torch pools |x|^p, and takes the root: elementwise, hence contiguous where strides fit both.
    """
    if x.shape[1] == 1 or tuple(size) == (1, 1) or x.is_contiguous():
        return False
    return is_channels_last(elementwise_like(x))


def elementwise_like(x: Tensor) -> Tensor:
    """Uninitialised, with the shape and dtype of x, and the strides that f(x) has of any f that
    torch computes number by number: those of x without gaps, contiguous where they fit both."""
    if x.is_contiguous():
        return torch.empty_like(x, memory_format=torch.contiguous_format)
    if x.is_contiguous(memory_format=torch.channels_last):
        return torch.empty_like(x, memory_format=torch.channels_last)
    return torch.empty_like(x)


def empty_images(like: Tensor, shape: Sequence[int], channels_last: bool) -> Tensor:
    """Uninitialised (N, C, H, W) = shape, of another's dtype and device."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)


def as_contiguous(x: Tensor) -> Tensor:
    """x with contiguous strides: a view where others fit as well, which `x.contiguous()` leaves."""
    return x.reshape(-1).view(x.shape)


def as_channels_last(x: Tensor) -> Tensor:
    """The same for channels last."""
    n, c, h, w = x.shape
    return x.permute(0, 2, 3, 1).reshape(-1).view(n, h, w, c).permute(0, 3, 1, 2)
