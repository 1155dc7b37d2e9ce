"""Numerical errors of outputs and derivatives.

The reference is the twin in float64, with the same inputs, parameters and upstream gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .benchmark_config import BenchmarkConfig

# Largest relative error allowed, by dtype.
#
# For a single layer: the unit roundoff of float32 is 6e-8, sums over thousands of terms lose some
# tens of times that, and Winograd's algorithm is allowed 2e-5.  Half precision rounds its inputs to
# 5e-4 (float16) or 4e-3 (bfloat16).
LAYER_TOLERANCE = {
    torch.float64: 1e-12,
    torch.float32: 2e-5,
    torch.float16: 5e-3,
    torch.bfloat16: 4e-2,
}
# For a whole network, which amplifies rounding errors: where two pixels of a max-pooling window
# nearly tie, or the input of a ReLU is nearly zero, the gradient takes another path, and individual
# weights in AlexNet's first layer differ by several percent, also between torch.nn in float32 and
# float64; batch normalisation over few images has the same effect on every tensor.  Logits and
# gradients are therefore compared elementwise in float64 only, where near-ties do not matter.  In
# the requested dtype all gradients are compared as one vector (see `distance`), and our error may
# reach the tolerance or `MAX_ERROR_RATIO` times torch.nn's, whichever is larger: Winograd's
# algorithm alone loses ten times as much.
NETWORK_TOLERANCE = {
    torch.float64: 1e-9,
    torch.float32: 1e-4,
    torch.float16: 2e-2,
    torch.bfloat16: 1e-1,
}
MAX_ERROR_RATIO = 20


def error(found: Tensor | None, expected: Tensor | None, least: float = 0.0) -> float:
    """Largest difference relative to the largest expected magnitude, which is at least `least`.

    0 if the two are equal, inf if their shapes differ, NaN if either contains NaN.
    """
    if found is None or expected is None or found.shape != expected.shape:
        return 0.0 if found is expected else math.inf
    found, expected = found.detach().double(), expected.detach().double()
    if not found.numel() or torch.equal(found, expected):
        return 0.0
    scale = expected.abs().max().clamp_min(least)
    return ((found - expected).abs().max() / scale).item()


def distance(found: Mapping[str, Tensor | None], expected: Mapping[str, Tensor | None]) -> float:
    """|found - expected| / |expected|, with all tensors concatenated into one vector."""
    squares = torch.zeros(2, dtype=torch.float64)
    for name, e in expected.items():
        f = found[name]
        if f is None or e is None:
            if f is not e:
                return math.inf
            continue
        squares += torch.stack([(f.double() - e).square().sum(), e.double().square().sum()]).cpu()
    return (squares[0] / squares[1]).sqrt().item()


def derivatives(
    layer: torch.nn.Module, inputs: Sequence[Tensor], config: BenchmarkConfig
) -> dict[str, Tensor | None]:
    """The output, and the gradients with respect to input and parameters.

    Args:
        layer: in any dtype; the random upstream gradient is representable in `config.dtype`.
        inputs: the first one requires a gradient; the others (targets) do not.
    Returns:
        {"output": y, "input": dx, "weight": dw, ...}; None where the graph does not reach a leaf.
    """
    torch.manual_seed(0)  # dropout
    y = layer(*inputs)
    wanted = leaves(layer, inputs)
    dy = config.randn(y.shape, seed=1).to(y)
    gradients = torch.autograd.grad(y, list(wanted.values()), dy, allow_unused=True)
    return {"output": y.detach(), **dict(zip(wanted, gradients, strict=True))}


def second_derivatives(
    layer: torch.nn.Module, inputs: Sequence[Tensor], config: BenchmarkConfig
) -> dict[str, Tensor]:
    """Gradients of  sum over leaves i of  <v_i, dL/dleaf_i>  for random directions v.

    Returns:
        gradients with respect to the input, each parameter and the "upstream" gradient.
    """
    torch.manual_seed(0)
    y = layer(*inputs)
    wanted = leaves(layer, inputs)
    dy = config.randn(y.shape, seed=1).to(y).requires_grad_()
    gradients = torch.autograd.grad(y, list(wanted.values()), dy, create_graph=True)
    directions = (config.randn(g.shape, seed=2 + i).to(g) for i, g in enumerate(gradients))
    terms = [(g * v).sum() for g, v in zip(gradients, directions, strict=True)]
    total = torch.stack(terms).sum()
    wanted["upstream"] = dy
    for leaf in wanted.values():
        leaf.grad = None
    total.backward()  # `autograd.grad` would skip a node whose only effect is to raise
    second = {
        name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        for name, leaf in wanted.items()
    }
    for leaf in wanted.values():
        leaf.grad = None
    return second


def leaves(layer: torch.nn.Module, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
    """The input and the parameters, by name."""
    named = layer.named_parameters()
    return {"input": inputs[0], **{n.removeprefix("_orig_mod."): p for n, p in named}}


def errors(
    found: Mapping[str, Tensor | None], expected: Mapping[str, Tensor | None], least: float = 0.0
) -> dict[str, float]:
    """`error` of each tensor in `expected`."""
    return {name: error(found[name], expected[name], least) for name in expected}


def to_float64(inputs: Sequence[Tensor]) -> list[Tensor]:
    """The same inputs with the first one in float64, as a new leaf."""
    image, *others = inputs
    return [image.detach().double().requires_grad_(), *others]


def worst(values: Mapping[str, float]) -> float:
    """The largest error; NaN if any is NaN."""
    return torch.tensor([*values.values(), 0.0], dtype=torch.float64).max().item()
