"""Constructor options that `compare.py check` also tries, by the name of the twin.

Each entry replaces some of the given arguments.  If it changes `in_channels`, the input has that
many channels.
"""

from __future__ import annotations

from typing import Any

_WINDOW: list[dict[str, Any]] = [{"stride": 1}, {"stride": 2}, {"padding": 1}]

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "Conv2d": [
        {"kernel_size": 1, "padding": 0},
        {"kernel_size": (3, 2)},
        {"stride": 2},
        {"stride": (1, 2)},
        {"stride": 3, "padding": 0},
        {"padding": 0},
        {"padding": 2},
        {"padding": "same", "stride": 1},
        {"dilation": 2},
        {"in_channels": 4, "out_channels": 6, "groups": 2},
        {"in_channels": 4, "out_channels": 4, "groups": 4},
        {"bias": False},
        {"padding": 1, "padding_mode": "reflect"},
        {"padding": 1, "padding_mode": "circular"},
    ],
    "Linear": [{"bias": False}],
    "MaxPool2d": [
        *_WINDOW, {"kernel_size": (3, 2)}, {"kernel_size": 3, "stride": 2, "padding": 1},
        {"dilation": 2}, {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    ],
    "AvgPool2d": [
        *_WINDOW, {"kernel_size": (3, 2)}, {"kernel_size": 3, "stride": 2, "ceil_mode": True},
        {"kernel_size": 3, "padding": 1, "count_include_pad": False}, {"divisor_override": 1},
    ],
    "AdaptiveAvgPool2d": [{"output_size": 1}, {"output_size": 3}, {"output_size": (2, 5)}],
    "LPPool2d": [{"stride": 1}, {"stride": 2}, {"norm_type": 4}, {"ceil_mode": True}],
    "BatchNorm2d": [
        {"affine": False}, {"track_running_stats": False}, {"eps": 0.1}, {"momentum": None},
    ],
    "LocalResponseNorm": [{"size": 3}, {"alpha": 0.1}, {"beta": 0.5}, {"k": 2.0}],
    "Softmax": [{"dim": -1}],
}  # fmt: skip
