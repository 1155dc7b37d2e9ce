"""The definitions that these tests hold against loops and torch.nn, by their operators' names."""

from functools import partial

from layers.ops.pointwise import relu_backward
from layers.ops.registry import OPERATORS

conv2d, conv2d_input, conv2d_weight = (
    partial(OPERATORS[name].definition, algorithm="auto")
    for name in ("conv2d", "conv2d_input", "conv2d_weight")
)
locally_connected2d, locally_connected2d_input, locally_connected2d_weight = (
    OPERATORS[name].definition
    for name in ("locally_connected2d", "locally_connected2d_input", "locally_connected2d_weight")
)

batch_norm, batch_norm_backward, local_response_norm, local_response_norm_backward, one_hot = (
    OPERATORS[name].definition
    for name in (
        "batch_norm",
        "batch_norm_backward",
        "local_response_norm",
        "local_response_norm_backward",
        "one_hot",
    )
)

(
    max_pool2d,
    max_pool2d_gather,
    max_pool2d_backward,
    window_sum,
    window_sum_backward,
    lp_pool2d,
    lp_pool2d_backward,
) = (
    OPERATORS[name].definition
    for name in (
        "max_pool2d",
        "max_pool2d_gather",
        "max_pool2d_backward",
        "window_sum",
        "window_sum_backward",
        "lp_pool2d",
        "lp_pool2d_backward",
    )
)

__all__ = [
    "batch_norm",
    "batch_norm_backward",
    "conv2d",
    "conv2d_input",
    "conv2d_weight",
    "local_response_norm",
    "local_response_norm_backward",
    "locally_connected2d",
    "locally_connected2d_input",
    "locally_connected2d_weight",
    "lp_pool2d",
    "lp_pool2d_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool2d_gather",
    "one_hot",
    "relu_backward",
    "window_sum",
    "window_sum_backward",
]
