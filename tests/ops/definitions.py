"""The definitions that these tests hold against loops and torch.nn, by their operators' names."""

from layers.ops.conv import conv2d, conv2d_input, conv2d_weight

__all__ = ["conv2d", "conv2d_input", "conv2d_weight"]
