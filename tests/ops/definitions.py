"""The definitions that these tests hold against loops and torch.nn, by their operators' names."""

from layers.ops.conv import conv2d, conv2d_input, conv2d_weight
from layers.ops.pool import (
    lp_pool2d,
    lp_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
    max_pool2d_gather,
    window_sum,
    window_sum_backward,
)

__all__ = [
    "conv2d",
    "conv2d_input",
    "conv2d_weight",
    "lp_pool2d",
    "lp_pool2d_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool2d_gather",
    "window_sum",
    "window_sum_backward",
]
