"""What our autograd Functions share: saved tensors, forward derivatives and vmap.

A subclass then states its mathematics, `forward` and `backward`, and little else.

Backward derivatives exist to every order, and forward over backward.  Forward over forward (a `jvp`
inside a `jvp`) does not: torch takes the `jvp` of any autograd.Function for a constant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .interop.function import Function
from .interop.tracing import image_size


class FromOutput(Function):
    """y = f(x, *constants), whose slope follows from y: only y is kept, x may be forgotten.

    A subclass has `slope(t, y, *constants)`: the slope, a symmetric matrix, times t.  The backward
    pass conjugates it, which real numbers do not notice.
    """

    generate_vmap_rule = True
    slope: Callable[..., Tensor]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        _, *ctx.constants = inputs
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @classmethod
    def backward(cls, ctx: Any, dy: Tensor) -> tuple:
        (y,) = ctx.saved_tensors
        return cls.slope(dy, y.conj(), *ctx.constants), *[None] * len(ctx.constants)

    @classmethod
    def jvp(cls, ctx: Any, x_t: Tensor, *_: None) -> Tensor:
        return cls.slope(x_t, *ctx.saved_tensors, *ctx.constants)


class Bilinear(Function):
    """f(a, b, *constants), linear in each of its two tensors.

    So the tensors to save are the arguments themselves, and the product rule is the forward
    derivative.
    """

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        a, b, *ctx.constants = inputs
        ctx.save_for_backward(a, b)
        ctx.save_for_forward(a, b)

    @classmethod
    def jvp(cls, ctx: Any, a_t: Tensor | None, b_t: Tensor | None, *_: None) -> Tensor:
        """df = f(da, b) + f(a, db)."""
        a, b = ctx.saved_tensors
        if b_t is None:
            return cls.apply(a_t, b, *ctx.constants)
        if a_t is None:
            return cls.apply(a, b_t, *ctx.constants)
        return cls.apply(a_t, b, *ctx.constants) + cls.apply(a, b_t, *ctx.constants)


class GroupedBilinear(Bilinear):
    """A bilinear operator on channels in groups: `torch.vmap` makes its dimension more groups.

    Examples that share nothing are a block-diagonal product, which is what groups are.  Where
    all examples share the filters, they are simply more images of the batch.
    """

    FILTERS: int | None  # which argument holds the filters; None: the result does
    CHANNELS: tuple[int, int, int]  # the grouped dimension of a, of b and of the result

    @classmethod
    def vmap(
        cls, info: Any, in_dims: tuple, a: Tensor, b: Tensor, geometry: list, *constants: Any
    ) -> tuple[Tensor, int]:
        size, dims, tensors = info.batch_size, in_dims[:2], (a, b)
        if cls.FILTERS is not None and dims[cls.FILTERS] is None:
            images = [
                t if dim is None else t.movedim(dim, 0).flatten(0, 1)
                for t, dim in zip(tensors, dims, strict=True)
            ]
            return cls.apply(*images, geometry, *constants).unflatten(0, (size, -1)), 0
        blocks = [
            _batched(t, dim, size).movedim(0, at).flatten(at, at + 1)
            for t, dim, at in zip(tensors, dims, cls.CHANNELS[:2], strict=True)
        ]
        geometry = [*geometry[:-1], size * geometry[-1]]  # the last is the number of groups
        at = cls.CHANNELS[2]
        return cls.apply(*blocks, geometry, *constants).unflatten(at, (size, -1)), at


class PerImage(Function):
    """An operator on images (N, C, H, W) one by one: `torch.vmap` only makes the batch longer."""

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple, *inputs: Any) -> tuple[Any, Any]:
        size = info.batch_size
        folded = [
            _batched(value, dim, size).flatten(0, 1) if isinstance(value, Tensor) else value
            for value, dim in zip(inputs, in_dims, strict=True)
        ]
        outputs = cls.apply(*folded)
        if isinstance(outputs, Tensor):
            return outputs.unflatten(0, (size, -1)), 0
        return tuple(y.unflatten(0, (size, -1)) for y in outputs), (0,) * len(outputs)


class Adjoint(PerImage):
    """A linear map of images, f(t, *switches, geometry, size, channels_last, kernels).

    `size` is the result's (H, W).  A linear map is its own forward derivative, and its backward is
    its transpose.
    """

    TRANSPOSE: type[Adjoint]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        t, *switches, ctx.geometry, ctx.size, channels_last, kernels = inputs
        ctx.transposed_size, ctx.options = image_size(t), (channels_last, kernels)
        ctx.save_for_backward(*switches)
        ctx.save_for_forward(*switches)

    @classmethod
    def backward(cls, ctx: Any, upstream: Tensor) -> tuple:
        constants = *ctx.saved_tensors, ctx.geometry, ctx.transposed_size, *ctx.options
        return cls.TRANSPOSE.apply(upstream, *constants), *[None] * len(constants)

    @classmethod
    def jvp(cls, ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return cls.apply(tangent, *ctx.saved_tensors, ctx.geometry, ctx.size, *ctx.options)


def adjoint_pair(
    name: str, forward: Callable, transpose: Callable
) -> tuple[type[Adjoint], type[Adjoint]]:
    """Two Functions, each the derivative of the other, of two linear operators."""
    pair: Any = [
        type(f"{name}{suffix}", (Adjoint,), {"forward": staticmethod(operator)})
        for operator, suffix in ((forward, ""), (transpose, "Backward"))
    ]
    pair[0].TRANSPOSE, pair[1].TRANSPOSE = reversed(pair)
    return pair[0], pair[1]


def may_be_differentiated() -> bool:
    """Whether what is computed now is recorded for a derivative, backward or forward.

    A backward pass has no need of it, unless somebody differentiates that in turn; then a fused
    kernel, which has no derivative, will not do.
    """
    return torch.is_grad_enabled() or forward_ad._current_level >= 0


def _batched(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """The tensor with its vmapped dimension in front; one that has none is repeated (a view)."""
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def add_bias(y: Tensor, bias: Tensor) -> Tensor:
    """y + bias, in place: a second volume would be most of a layer's memory.

    Not in place inside a forward derivative: `torch.func.linearize` keeps y, and runs what writes
    in place at every call.

    Args:
        bias: of a shape that broadcasts to y's; the caller sees to it.
    Raises:
        RuntimeError: a bias of another dtype than y.
    """
    if bias.dtype != y.dtype:
        raise RuntimeError(f"the output is {y.dtype} but the bias {bias.dtype}: use one dtype")
    if forward_ad._current_level >= 0:
        return y + bias
    try:
        return y.add_(bias)
    except RuntimeError:  # vmap over the bias alone: y has no room for the new dimension
        return y + bias
