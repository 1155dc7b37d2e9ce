"""Kernels for a GPU, in Triton: rows of the table like any other (docs/gpu.md says how they work).

A file holds an operator's device code, functions over blocks of values, and what launches it.
"""

from . import (
    batch_norm,
    conv,
    conv_weight,
    local_response_norm,
    locally_connected,
    lp_pool,
    max_pool,
    window_sum,
)

__all__ = [
    "batch_norm",
    "conv",
    "conv_weight",
    "local_response_norm",
    "locally_connected",
    "lp_pool",
    "max_pool",
    "window_sum",
]
