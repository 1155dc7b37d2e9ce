"""Non-linearities, elementwise, each with its derivative written by hand.

Their derivatives are written in terms of the output y, so only y is kept for the backward pass
and the layer before may forget its own copy.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .arguments.dtypes import refuse_complex
from .autograd import FromOutput
from .interop.function import graph_node
from .interop.overrides import overridable
from .ops.pointwise import relu_backward


class Relu(FromOutput):
    """y = max(0, x);  dx = dy where y > 0, else 0."""

    slope = staticmethod(relu_backward)

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return torch.threshold(x, 0, 0)  # x where x > 0, else +0; NaN stays


class Tanh_(FromOutput):
    """y = tanh(x);  dx = dy (1 - y^2)."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return torch.tanh(x)

    @staticmethod
    def slope(t: Tensor, y: Tensor) -> Tensor:
        return t * (1 - y * y)


class ScaledTanh_(FromOutput):
    """y = A tanh(S x);  dx = dy S (A - y^2 / A)."""

    @staticmethod
    def forward(x: Tensor, amplitude: float, slope: float) -> Tensor:
        return torch.tanh(x * slope) * amplitude

    @staticmethod
    def slope(t: Tensor, y: Tensor, amplitude: float, slope: float) -> Tensor:
        return t * (slope * amplitude - (slope / amplitude) * y * y)


_relu, _tanh, _scaled_tanh = map(graph_node, (Relu, Tanh_, ScaledTanh_))


@overridable
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """y = max(0, x), elementwise, any shape; its derivative at 0 is 0.

    Raises:
        ValueError: inplace.
        NotImplementedError: complex numbers, of which none is the larger.
    Derivatives: all orders, forward mode, vmap.
    Source: Krizhevsky et al. 2012, section 3.1.
    """
    if inplace:
        raise ValueError("inplace=True is not supported: use inplace=False, which costs no more")
    refuse_complex("relu", input)
    return _relu(input)


@overridable
def tanh(input: Tensor) -> Tensor:
    """y = tanh(x), elementwise, any shape.

    Derivatives: all orders, forward mode, vmap.
    """
    return _tanh(input)


@overridable
def scaled_tanh(input: Tensor, amplitude: float = 1.7159, slope: float = 2 / 3) -> Tensor:
    """y = A tanh(S x), elementwise, any shape: LeCun's squashing function, f(1) = 1.

    Derivatives: all orders, forward mode, vmap.
    Source: LeCun et al. 1998, appendix A.
    """
    return _scaled_tanh(input, amplitude, slope)


class ReLU(torch.nn.ReLU):
    """torch.nn.ReLU computed by our `relu`."""

    def forward(self, input: Tensor) -> Tensor:
        return relu(input, self.inplace)


class Tanh(torch.nn.Tanh):
    """torch.nn.Tanh computed by our `tanh`."""

    def forward(self, input: Tensor) -> Tensor:
        return tanh(input)


class ScaledTanh(torch.nn.Module):
    """A module of `scaled_tanh`; torch.nn has no twin."""

    def __init__(self, amplitude: float = 1.7159, slope: float = 2 / 3) -> None:
        super().__init__()
        self.amplitude, self.slope = amplitude, slope

    def forward(self, input: Tensor) -> Tensor:
        return scaled_tanh(input, self.amplitude, self.slope)

    def extra_repr(self) -> str:
        return f"amplitude={self.amplitude}, slope={self.slope}"
