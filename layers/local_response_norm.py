"""Local response normalisation: every activation is damped by its neighbours across channels.

Krizhevsky et al. 2012, section 3.3.  With s[c] = k + alpha * sum over c' near c of x[c']^2,

    y[c] = x[c] s[c]^-beta

The `size` channels c - size//2 .. c + (size-1)//2 are near c, as far as they exist.  The gradient
is in ops/norm.py.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import backends
from .arguments.local_response_norm import check
from .arguments.pixels import as_int
from .autograd import PerImage, may_be_differentiated
from .interop.autocast import autocast_float32
from .interop.function import graph_node
from .interop.overrides import overridable
from .ops import norm as ops
from .ops.dtypes import upcast
from .ops.norm import channel_sum, response_scale


class ResponseNorm(PerImage):
    """y as above.  Only x is kept: s is cheaper to compute again than to store."""

    forward = staticmethod(ops.local_response_norm)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, *ctx.constants = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple:
        (x,), (*constants, kernels) = ctx.saved_tensors, ctx.constants
        if may_be_differentiated():
            dy = dy.clone()  # dx lies as dy, also if that is one number, expanded
            dx = ops.local_response_norm_backward.definition(dy, x, *constants)
        else:
            dx = ops.local_response_norm_backward(dy, x, *constants, kernels)
        return dx, None, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, x_t: Tensor, *_: None) -> Tensor:
        """dy[c] = s[c]^-beta (dx[c] - 2 alpha beta x[c] / s[c] * sum over c' near c of x dx)."""
        (x,), (size, alpha, beta, k, _) = ctx.saved_tensors, ctx.constants
        dtype, x, x_t = x.dtype, upcast(x), upcast(x_t)
        s = response_scale(x, size, alpha, k)
        near = channel_sum(x * x_t, size // 2, (size - 1) // 2)
        return ((x_t - 2 * alpha * beta * x * near / s) * s**-beta).to(dtype)


_response_norm = graph_node(ResponseNorm)


@overridable
def local_response_norm(
    input: Tensor,
    size: int,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    divide_alpha: bool = True,
) -> Tensor:
    """y[c] = x[c] / (k + alpha/size * sum over c' near c of x[c']^2)^beta.

    Args:
        input: (N, C, ...), at least one dimension after the channels, any float dtype, or int64.
        size: channels in the window.
        alpha, beta, k: as in the equation.
        divide_alpha: divide alpha by size, as torch, Caffe and Krizhevsky's own code do.  False
            is the paper's formula read literally: the same as alpha * size here.
    Returns:
        (N, C, ...).
    Raises:
        ValueError: fewer than three dimensions.
        RuntimeError: a size below 1.
        TypeError: a size that is no whole number.
        NotImplementedError: complex numbers, or whole ones other than int64.
    Derivatives: all orders, forward mode, vmap.
    Source: Krizhevsky et al. 2012, section 3.3: size 5, alpha 1e-4, beta 0.75, k 2.
        Differs: with the default divide_alpha it computes what was run, not what was printed.
        Of int64 torch takes the mean of the squares as a whole number, and so does this.
    """
    size = as_int(size, "size")
    check(input, size)
    if not input.is_floating_point():
        return _of_whole_numbers(input, size, alpha if divide_alpha else alpha * size, beta, k)
    if input.numel() == 0:
        return input
    input = autocast_float32("local_response_norm", input)
    alpha = alpha / size if divide_alpha else alpha
    return _response_norm(input, size, alpha, beta, k, backends.kernels.enabled)


def _of_whole_numbers(x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    mean = channel_sum(x * x, size // 2, (size - 1) // 2).div(size, rounding_mode="trunc")
    return x / (k + alpha * mean) ** beta


class LocalResponseNorm(torch.nn.LocalResponseNorm):
    """torch.nn.LocalResponseNorm computed by our `local_response_norm` (alpha divided by size)."""

    def forward(self, input: Tensor) -> Tensor:
        return local_response_norm(input, self.size, self.alpha, self.beta, self.k)
