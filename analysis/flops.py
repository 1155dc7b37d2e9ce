"""Multiply-adds and floating-point operations of the calls of a network.

A multiply-add (MAC) is a product and its addition to a sum: two floating-point operations (FLOPs).
Counted are the products of convolutions, linear and locally connected layers and of matrices, as
`torch.utils.flop_counter.FlopCounterMode` counts them; what adds a bias, compares or normalises
counts nothing.  Winograd's algorithm counts as the convolution that it computes.

Backward, a layer computes two more products of the same size: the gradients of its weights, if they
are trained, and of its input, if something before it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch

from .walk import INPUT, Call
from .windows import RULES


def macs(call: Call) -> int | None:
    """Multiply-adds of the forward pass; None if they are unknown."""
    if not call.is_traced or call.shape is None:
        return None
    rule = PRODUCTS.get(call.op)
    if rule is not None:
        return rule(call, call.shape)
    return 0 if call.op in WITHOUT_PRODUCTS else None


def backward_macs(
    calls: Sequence[Call], parameters: Mapping[str, torch.nn.Parameter]
) -> dict[str, int | None]:
    """Multiply-adds of the backward pass, by the names of the calls.

    Differs: `FlopCounterMode` counts the gradient of a grouped convolution's weights in torch.nn as
    if all channels met, groups times too many.

    Args:
        parameters: of the network, by name.
    """
    trained = {INPUT: False}  # whether something before the output of a call is trained
    found: dict[str, int | None] = {}
    for call in calls:
        own = [parameters[name] for name in call.parameters if name in parameters]
        operands = [trained[name] for name in call.inputs]
        forward = macs(call)
        gradients = sum(operands) + any(p.requires_grad for p in own if p.dim() > 1)
        found[call.name] = None if forward is None else forward * gradients
        trained[call.name] = any(operands) or any(p.requires_grad for p in own)
        if call.op in ("detach", "argmax"):
            trained[call.name] = False
    return found


def convolution(call: Call, shape: tuple[int, ...]) -> int:
    """Every filter's weight meets a pixel for each pixel of an output map."""
    return prod(weight(call)) * shape[0] * prod(shape[2:])


def transposed(call: Call, shape: tuple[int, ...]) -> int:
    """... of an input map."""
    return prod(weight(call)) * shape[0] * prod(call.in_shapes[0][2:])


def locally_connected(call: Call, shape: tuple[int, ...]) -> int:
    """A weight belongs to one place: it is used once for each image."""
    return prod(weight(call)) * shape[0]


def linear(call: Call, shape: tuple[int, ...]) -> int:
    return prod(weight(call)) * prod(shape[:-1])


def product(call: Call, shape: tuple[int, ...]) -> int:
    """Of two matrices, or of as many pairs of them as there are."""
    shapes = [s for s in (*_shapes(call),) if len(s) > 1]
    return prod(shape) * shapes[0][-1]


def weight(call: Call) -> tuple[int, ...]:
    """The shape of the weights of a layer, or of a function's second argument."""
    if call.module is not None:
        return tuple(call.module.weight.shape)  # type: ignore[arg-type]
    return call.kwargs["weight"] if "weight" in call.kwargs else call.args[1]


def _shapes(call: Call) -> list[tuple[int, ...]]:
    """Of the tensors among the arguments, in their order."""
    read = iter(call.in_shapes)
    arguments: list[Any] = [*call.args, *call.kwargs.values()]
    return [next(read) if a == "" else a for a in arguments if a == "" or isinstance(a, tuple)]


PRODUCTS: dict[str, Callable[[Call, tuple[int, ...]], int]] = {
    **dict.fromkeys(("Conv1d", "Conv2d", "Conv3d", "conv1d", "conv2d", "conv3d"), convolution),
    **dict.fromkeys(("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"), transposed),
    **dict.fromkeys(("conv_transpose2d",), transposed),
    **dict.fromkeys(("LocallyConnected2d", "locally_connected2d"), locally_connected),
    **dict.fromkeys(("Linear", "linear"), linear),
    **dict.fromkeys(("matmul", "mm", "bmm"), product),
}
WITHOUT_PRODUCTS = {
    *RULES,
    "permute", "transpose", "t", "T", "mT", "movedim", "swapaxes", "roll", "flip", "repeat",
    "expand", "expand_as", "unsqueeze", "squeeze", "stack", "unbind", "index_select", "gather",
    "Upsample", "interpolate", "PixelShuffle", "pixel_shuffle", "PixelUnshuffle",
    "pixel_unshuffle", "Unflatten", "Unfold", "Fold", "unfold", "fold", "MaxUnpool2d",
    "max_unpool2d", "LayerNorm", "layer_norm", "RMSNorm", "rms_norm", "Softmin", "normalize",
    "max", "min", "argmax", "cumsum", "norm", "std", "var", "floordiv", "masked_fill", "tril",
    "triu", "sign", "sin", "cos", "round", "floor", "erf", "bool", "double", "int", "long",
    "bfloat16", "type", "glu", "GLU", "ZeroPad1d", "AvgPool1d", "MaxPool1d", "BatchNorm1d",
    "Dropout1d", "Dropout3d",
}  # fmt: skip
