"""The definitions that these tests hold against loops and torch.nn, by their operators' names."""

from functools import partial

from layers.ops.registry import OPERATORS

conv2d, conv2d_input, conv2d_weight = (
    partial(OPERATORS[name].definition, algorithm="auto")
    for name in ("conv2d", "conv2d_input", "conv2d_weight")
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
