"""Kernels for a GPU, in Triton: rows of the table like any other (docs/gpu.md says how they work).

A file holds an operator's device code, functions over blocks of values, and what launches it.
"""

from . import conv_weight, locally_connected, max_pool

__all__ = ["conv_weight", "locally_connected", "max_pool"]
