"""Kernels for a GPU, in Triton: rows of the table like any other (docs/gpu.md says how they work).

A file holds an operator's device code, functions over blocks of values, and what launches it.
"""

from . import conv, lp_pool, max_pool, window_sum

__all__ = ["conv", "lp_pool", "max_pool", "window_sum"]
