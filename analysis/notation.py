"""Layers, volumes and weights as the chapter writes them: CONV3-64, [224x224x64], (3*3*3)*64.

The words are those of models/pattern.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from torch import Tensor

from .flops import weight
from .walk import UNTRACED, Call
from .windows import UNIT, Window, options, slide, windows

CONVOLUTIONS = {"Conv2d": "CONV", "conv2d": "CONV", "LocallyConnected2d": "LOCAL"}
POOLS = {
    "MaxPool2d": "POOL", "max_pool2d": "POOL", "AvgPool2d": "AVGPOOL", "avg_pool2d": "AVGPOOL",
    "LPPool2d": "L2POOL", "lp_pool2d": "L2POOL",
}  # fmt: skip
WORDS = {
    "BatchNorm2d": "BN", "batch_norm": "BN", "ReLU": "RELU", "relu": "RELU", "Tanh": "TANH",
    "tanh": "TANH", "Dropout": "DROPOUT", "dropout": "DROPOUT",
}  # fmt: skip


def word(call: Call) -> str:
    """CONV3-64, POOL2, FC4096, or the name of the layer or function where there is no word."""
    if call.op in CONVOLUTIONS and call.shape is not None:
        size = _letters(slide(call), same=True)
        groups = options(call).get("groups", 1)
        filters = f"-{call.shape[1]}"
        number, letters = size
        return CONVOLUTIONS[call.op] + number + filters + letters + f"g{groups}" * (groups > 1)
    if call.op in POOLS:
        number, letters = _letters(slide(call), same=False)
        return POOLS[call.op] + number + letters
    if call.op in ("AdaptiveAvgPool2d", "adaptive_avg_pool2d") and call.shape is not None:
        return "GAP" if call.shape[-2:] == (1, 1) else f"AVGPOOL to {_by(call.shape[-2:])}"
    if call.op in ("Linear", "linear") and call.shape is not None:
        return f"FC{call.shape[-1]}"
    if call.op == "LocalResponseNorm" and call.module is not None:
        return f"LRN{call.module.size}"
    return WORDS.get(call.op, "unknown" if call.op == UNTRACED else call.op)


def _letters(axes: tuple[Window, Window], same: bool) -> tuple[str, str]:
    """The window, and the options that differ from a pattern's defaults."""
    sizes = [axis.kernel_size for axis in axes]
    spans = [axis.dilation * (axis.kernel_size - 1) + 1 for axis in axes]
    usual = {
        "s": [1, 1] if same else sizes,
        "p": [span // 2 for span in spans] if same else [0, 0],
        "d": [1, 1],
    }
    given = {
        "s": [axis.stride for axis in axes],
        "p": [axis.padding for axis in axes],
        "d": [axis.dilation for axis in axes],
    }
    return _by(sizes), "".join(
        f"{key}{_by(given[key])}" for key in usual if given[key] != usual[key]
    )


def _by(pair: Sequence[int]) -> str:
    return f"{pair[0]}" if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"


def volume(shape: Sequence[int] | None) -> str:
    """[HxWxC] of a map (N, C, H, W), [1x1xC] of vectors, which are what the chapter has."""
    if shape is None:
        return "unknown"
    if len(shape) == 2:
        return f"[1x1x{shape[1]}]"
    if len(shape) == 4:
        return f"[{shape[2]}x{shape[3]}x{shape[1]}]"
    return f"[{'x'.join(map(str, shape[1:]))}]"


def weight_product(
    call: Call, parameters: Mapping[str, Tensor], calls: Mapping[str, Call]
) -> tuple[str, int]:
    """The number of weights, without biases, and how it comes about: "(3*3*3)*64", 1728.

    Args:
        parameters: those that the call reads and no call before it, by name.
        calls: all calls, by name.
    """
    counted = [p for name, p in parameters.items() if name.rpartition(".")[2] != "bias"]
    number = sum(p.numel() for p in counted)
    text = ""
    if call.op in CONVOLUTIONS or call.op in ("Linear", "linear"):
        text = _factors(call, calls)
    return (text, number) if text and _value(text) == number else ("", number)


def _factors(call: Call, calls: Mapping[str, Call]) -> str:
    shape = weight(call)
    if call.op in ("Linear", "linear"):
        *_, outputs, inputs = shape
        flattened = flattened_map(call, calls)
        if flattened is None:
            return f"{inputs}*{outputs}"
        channels, height, width = flattened
        return f"{height}*{width}*{channels}*{outputs}"
    height, width = (axis.kernel_size for axis in slide(call))
    if call.op == "LocallyConnected2d":
        rows, columns, groups, fan_in, filters = shape
        window = f"({height}*{width}*{fan_in // (height * width)})*{groups * filters}"
        return f"{rows}*{columns}*{window}"
    filters, channels, *_ = shape
    return f"({height}*{width}*{channels})*{filters}"


def _value(text: str) -> int:
    return prod(int(factor) for factor in text.replace("(", "").replace(")", "").split("*"))


def flattened_map(call: Call, calls: Mapping[str, Call]) -> tuple[int, int, int] | None:
    """(C, H, W) of the map of more than one pixel that a fully connected layer reads, if it does
    so through nothing but a flattening and what works unit by unit, such as dropout."""
    while len(call.inputs) == 1 and call.inputs[0] in calls:
        shape = call.in_shapes[0]
        if len(shape) == 4:
            return (shape[1], shape[2], shape[3]) if shape[2] * shape[3] > 1 else None
        call = calls[call.inputs[0]]
        if call.op in ("Linear", "linear"):
            return None
    return None


def is_elementwise(call: Call) -> bool:
    """Whether each number of the output is computed from the number in its place."""
    return call.shape in call.in_shapes and windows(call) == UNIT
