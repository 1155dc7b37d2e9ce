"""What `torch.utils.flop_counter.FlopCounterMode` counts for our operators: two for each product.

A convolution or a locally connected layer multiplies every weight by a pixel at every place where
it is used; so do its two gradients, each of which is one slot of the same trilinear form (see
trilinear.py).  That is torch's count for torch.nn, but for a filters' gradient in groups, which
torch counts as if all channels met, groups times too many.  Winograd's convolution is counted as
the convolution it computes, as torch counts cuDNN's.

Linear layers are counted by torch itself, since they are computed by torch.mm.  Operators without
a formula, from pooling to normalisation, count nothing, as their twins.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import register_flop_formula

from ..ops import conv, locally_connected  # noqa: F401  which register the operators

Shape = Sequence[int]
ours = torch.ops.convnets


@register_flop_formula(ours.conv2d)
def conv2d_flops(x: Shape, weight: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    """Every filter's weight meets each pixel of an output map, (N, C_out, H_out, W_out)."""
    return 2 * prod(weight) * out_shape[0] * prod(out_shape[2:])


@register_flop_formula(ours.conv2d_input)
def conv2d_input_flops(weight: Shape, g: Shape, *_: Any, **__: Any) -> int:
    return 2 * prod(weight) * g[0] * prod(g[2:])


@register_flop_formula(ours.conv2d_weight)
def conv2d_weight_flops(x: Shape, g: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    return 2 * prod(out_shape) * g[0] * prod(g[2:])


@register_flop_formula(ours.locally_connected2d)
def locally_connected2d_flops(x: Shape, weight: Shape, *_: Any, **__: Any) -> int:
    """A weight belongs to one place: it is used once for each image."""
    return 2 * prod(weight) * x[0]


@register_flop_formula(ours.locally_connected2d_input)
def locally_connected2d_input_flops(weight: Shape, g: Shape, *_: Any, **__: Any) -> int:
    return 2 * prod(weight) * g[0]


@register_flop_formula(ours.locally_connected2d_weight)
def locally_connected2d_weight_flops(
    x: Shape, g: Shape, *_: Any, out_shape: Shape, **__: Any
) -> int:
    return 2 * prod(out_shape) * x[0]
