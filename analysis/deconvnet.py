"""The deconvnet: which pixels of an image made one unit of a network respond.

Zeiler & Fergus 2013, section 2.1.  Keep one activation of a layer, set all others of that layer to
zero, and pass it back to the pixels through the layers below, in reverse:

    max-pooling     unpool: every value goes to the place from which the maximum was taken, which
                    the pooling layer noted down (its switches); where windows overlap, values that
                    go to the same place add up
    ReLU            rectify: what is negative on its way down becomes zero
    convolution     filter: by the transposed filters, without a bias
    response norm   skip: "we do not use any contrast normalization operations when in this
                    reconstruction path"

Each of these is below a torch.autograd.Function, whose forward pass is the layer and whose backward
pass is its step on the way down, so that autograd finds the way: also where it forks, as in a
residual network, whose branches add up.  Layers that are not in this list (batch normalisation in
evaluation, average pooling, fully and locally connected layers, paddings) are linear or nearly so,
and go back as in back-propagation, which for a linear layer is its transpose.

So the deconvnet is back-propagation with another rule for the ReLU (Simonyan et al. 2013, section
4), which is all that `METHODS` differ in, and no response normalisation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.overrides import TorchFunctionMode

import layers.functional as F

from .volumes import volume

Pixels = int | tuple[int, int]

# What passes a ReLU on its way down, of a signal g that reaches it, where its output was y.
METHODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "deconvnet": lambda g, y: g.clamp(min=0),
    "gradient": lambda g, y: g * (y > 0),
    "guided": lambda g, y: g.clamp(min=0) * (y > 0),  # Springenberg et al. 2014, Fig. 1
}


class Unpool(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, kernel_size: Pixels, stride: Pixels, padding: Pixels, ceil_mode: bool
    ) -> Tensor:
        y, switches = F.max_pool2d_with_switches(
            x, kernel_size, stride, padding, ceil_mode=ceil_mode
        )
        ctx.save_for_backward(switches)
        ctx.windows, ctx.size = (kernel_size, stride, padding), x.shape[2:]
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple:
        (switches,), (kernel_size, stride, padding) = ctx.saved_tensors, ctx.windows
        x = F.max_unpool2d(g, switches, kernel_size, stride, padding, output_size=ctx.size)
        return x, *[None] * 4


class Rectify(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rule: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        ctx.rule, y = rule, F.relu(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple:
        return ctx.rule(g, *ctx.saved_tensors), None


class Filter(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *geometry: Any) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.size, ctx.geometry = x.shape, geometry
        return F.conv2d(x, weight, bias, *geometry)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple:
        (weight,) = ctx.saved_tensors
        x = F.conv2d_input(ctx.size, weight, g, *ctx.geometry)
        return x, *[None] * (2 + len(ctx.geometry))


class Skip(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *constants: Any) -> Tensor:
        ctx.count = len(constants)
        return F.local_response_norm(x, *constants)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple:
        return g, *[None] * ctx.count


class Descent(TorchFunctionMode):
    """Inside the block the layers that have a step of their own on the way down take it."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.method, self.rectified = method, 0

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        step = {
            F.max_pool2d: self.max_pool2d,
            F.relu: self.relu,
            F.conv2d: self.conv2d,
            F.local_response_norm: self.local_response_norm,
        }.get(function, function)
        return step(*args, **(kwargs or {}))

    def max_pool2d(
        self, x: Tensor, kernel_size: Pixels, stride: Pixels | None = None, padding: Pixels = 0,
        dilation: Pixels = 1, ceil_mode: bool = False, return_indices: bool = False,
    ) -> Tensor:  # fmt: skip
        if dilation != 1 or return_indices:
            raise ValueError("max-pooling with dilation or indices has no way back here")
        return Unpool.apply(x, kernel_size, stride, padding, ceil_mode)

    def relu(self, x: Tensor, inplace: bool = False) -> Tensor:
        self.rectified += 1
        return Rectify.apply(x, METHODS[self.method])

    def conv2d(
        self, x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Pixels = 1,
        padding: Pixels | str = 0, dilation: Pixels = 1, groups: int = 1, algorithm: str = "auto",
    ) -> Tensor:  # fmt: skip
        if isinstance(padding, str):  # back-propagation filters by the same operator
            return F.conv2d(x, weight, bias, stride, padding, dilation, groups, algorithm)
        return Filter.apply(x, weight, bias, stride, padding, dilation, groups)

    def local_response_norm(self, x: Tensor, *constants: Any) -> Tensor:
        if self.method != "deconvnet":
            return F.local_response_norm(x, *constants)
        return Skip.apply(x, *constants)


def project(
    model: torch.nn.Module, x: Tensor, layer: str, units: Tensor, method: str = "deconvnet"
) -> Tensor:
    """What one unit for each image saw, at the pixels.

    Args:
        x: images, (N, C, H, W).
        layer: the name of a module of the network, whose output is (N, maps, H', W').
        units: (N, 3) int64: map, row and column in that output.
        method: a key of `METHODS`.
    Returns:
        (N, C, H, W): for each image, its unit's activation on its way back.
    Raises:
        KeyError: no such layer.
        ValueError: no ReLU of ours is below the layer, or it has no maps.
    """
    x = x.detach().requires_grad_()
    with torch.enable_grad(), Descent(method) as descent:
        y = volume(model, layer, x)
    if y.dim() != 4:
        raise ValueError(f"{layer} has no maps: its output is {tuple(y.shape)}")
    if not descent.rectified:
        raise ValueError(f"there is no ReLU of ours up to {layer}, in which the methods differ")
    at = torch.arange(len(x), device=x.device), *units.unbind(1)
    signal = torch.zeros_like(y)
    signal[at] = y.detach()[at]
    return torch.autograd.grad(y, x, signal)[0]
