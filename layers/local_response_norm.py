"""Local response normalisation: every activation is damped by its neighbours across channels.

Krizhevsky et al. 2012, section 3.3.  With s[c] = k + a * sum over c' near c of x[c']^2,

    y[c]  = x[c] s[c]^-beta
    dx[c] = dy[c] s[c]^-beta  -  2 a beta x[c] * sum over c' that have c near of
                                                  dy[c'] x[c'] s[c']^(-beta - 1)

The `size` channels c - size//2 .. c + (size-1)//2 are near c, as far as they exist.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from .autocast import autocast_float32
from .autograd import PerImage, may_be_differentiated
from .kernels import local_response_norm_loops as loops
from .kernels.jit import as_maps_or_pixels, is_dense, parallel_for
from .kernels.openmp import parallel_map, partition
from .ops.geometry import as_int
from .ops.legacy import operator, refuse_complex, upcast
from .overrides import overridable

CPU_CHUNK = 2 << 20  # bytes of activations at a time, so that they stay in the cache
WORK = 8  # times as much for each number as copying it
MIN_PARALLEL_NUMEL = 1 << 18  # from which it pays to give each thread images of its own


class ResponseNorm(PerImage):
    """y as above.  Only x is kept: s is cheaper to compute again than to store."""

    @staticmethod
    def forward(x: Tensor, size: int, a: float, beta: float, k: float) -> Tensor:
        return response_norm(x, size, a, beta, k)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, *ctx.constants = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple:
        (x,) = ctx.saved_tensors
        if may_be_differentiated():
            dx = response_gradient(upcast(dy), upcast(x), *ctx.constants).to(x.dtype)
        else:
            dx = response_norm_input(dy, x, *ctx.constants)
        return dx, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, x_t: Tensor, *_: None) -> Tensor:
        (x,) = ctx.saved_tensors
        size, a, beta, k = ctx.constants
        dtype, x, x_t = x.dtype, upcast(x), upcast(x_t)
        s = scale(x, size, a, k)
        near = channel_sum(x * x_t, size // 2, (size - 1) // 2)
        return (x_t * s**-beta - 2 * a * beta * x * s ** (-beta - 1) * near).to(dtype)


@operator(fake=lambda x, size, a, beta, k: torch.empty_like(x))
def response_norm(x: Tensor, size: int, a: float, beta: float, k: float) -> Tensor:
    """y, a few images at a time.  x (N, C, ...)."""
    y = torch.empty_like(x)
    if is_dense(y):
        last, (source, target) = as_maps_or_pixels(y, x, y)
        parallel_for(
            loops.local_response_norm,
            _blocks(last, source),
            WORK * x.numel(),
            source,
            size,
            a,
            beta,
            k,
            target,
        )
        return y

    def normalise(images: slice) -> None:
        part = upcast(x[images])
        y[images] = part * _power(scale(part, size, a, k), beta)

    _by_images(normalise, x)
    return y


@operator(fake=lambda dy, x, size, a, beta, k: torch.empty_like(x))
def response_norm_input(
    dy: Tensor, x: Tensor, size: int, a: float, beta: float, k: float
) -> Tensor:
    """dx, a few images at a time."""
    dx = torch.empty_like(x)
    if is_dense(dx):
        last, (left, right, target) = as_maps_or_pixels(dx, dy, x, dx)
        parallel_for(
            loops.local_response_norm_backward,
            _blocks(last, left),
            WORK * x.numel(),
            left,
            right,
            size,
            a,
            beta,
            k,
            target,
        )
        return dx

    def differentiate(images: slice) -> None:
        dx[images] = response_gradient(upcast(dy[images]), upcast(x[images]), size, a, beta, k)

    _by_images(differentiate, x)
    return dx


def _blocks(last: bool, source: Any) -> int:
    """Pixels, or blocks of pixels, that the loops take one after the other."""
    return len(source) if last else len(source) * -(-source.shape[2] // loops.PIXELS)


def response_gradient(dy: Tensor, x: Tensor, size: int, a: float, beta: float, k: float) -> Tensor:
    """dx, in operations that torch can differentiate again."""
    s = scale(x, size, a, k)
    power = _power(s, beta)
    direct = dy * power
    near = channel_sum(direct * x / s, (size - 1) // 2, size // 2)  # the window, transposed
    return torch.addcmul(direct, x, near, value=-2 * a * beta)


def scale(x: Tensor, size: int, a: float, k: float) -> Tensor:
    """s."""
    return channel_sum(x * (x * a), size // 2, (size - 1) // 2) + k


def channel_sum(v: Tensor, before: int, after: int) -> Tensor:
    """out[:, c] = sum of v[:, c - before .. c + after], as far as they exist.

    Nothing is written in place: `torch.func.linearize` keeps what does not depend on the tangent.
    """
    channels = v.shape[1]
    before, after = (min(reach, max(0, channels - 1)) for reach in (before, after))
    padded = torch.nn.functional.pad(v, [0, 0] * (v.dim() - 2) + [before, after])
    return reduce(torch.add, (padded.narrow(1, t, channels) for t in range(before + after + 1)))


def _power(s: Tensor, beta: float) -> Tensor:
    """s^-beta; AlexNet's 0.75 by two square roots, which are several times faster than a power."""
    if beta == 0.75:
        root = s.rsqrt()
        return root * root.sqrt()
    return s**-beta


def _by_images(compute: Callable[[slice], None], x: Tensor) -> None:
    """compute(images) for all images, a few at a time; each thread has images of its own."""
    size = x[:1].numel() * x.element_size()
    few = max(1, CPU_CHUNK // max(1, size) if x.is_cpu else len(x))

    def compute_some(share: slice) -> None:
        for first in range(share.start, share.stop, few):
            compute(slice(first, min(first + few, share.stop)))

    parallel_map(
        compute_some, partition(x) if x.numel() >= MIN_PARALLEL_NUMEL else [slice(0, len(x))], x
    )


@torch.compiler.allow_in_graph
def _response_norm(x: Tensor, size: int, a: float, beta: float, k: float) -> Tensor:
    return ResponseNorm.apply(x, size, a, beta, k)


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
    if input.dim() < 3:
        raise ValueError(f"local_response_norm needs (N, C, ...) images, got {tuple(input.shape)}")
    size = as_int(size, "size")
    if size < 1:
        raise RuntimeError(f"size must be at least 1 channel, got {size}")
    refuse_complex("local_response_norm", input)
    if not input.is_floating_point():
        return _of_whole_numbers(input, size, alpha if divide_alpha else alpha * size, beta, k)
    input = autocast_float32("local_response_norm", input)
    return _response_norm(input, size, alpha / size if divide_alpha else alpha, beta, k)


def _of_whole_numbers(x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    if x.dtype != torch.int64:
        raise NotImplementedError(f"of whole numbers only int64 can be normalised, got {x.dtype}")
    mean = channel_sum(x * x, size // 2, (size - 1) // 2).div(size, rounding_mode="trunc")
    return x / (k + alpha * mean) ** beta


class LocalResponseNorm(torch.nn.LocalResponseNorm):
    """torch.nn.LocalResponseNorm computed by our `local_response_norm` (alpha divided by size)."""

    def forward(self, input: Tensor) -> Tensor:
        return local_response_norm(input, self.size, self.alpha, self.beta, self.k)
