"""How far a layer's numbers are from the exact ones: its output, its gradients, and theirs.

The exact numbers are a twin's in float64, given the same inputs, parameters and upstream gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .setting import Setting

# The largest relative error allowed, by precision.
#
# Of one layer: float32 rounds at 6e-8, sums of thousands of numbers err some tens of times that,
# and Winograd's algorithm is allowed 2e-5.  A half-precision number is itself rounded at 5e-4
# (float16) or 4e-3 (bfloat16).
LAYER = {
    torch.float64: 1e-12,
    torch.float32: 2e-5,
    torch.float16: 5e-3,
    torch.bfloat16: 4e-2,
}
# Of a whole network, which magnifies every rounding: where two pixels of a max-pooling window
# nearly tie, or a ReLU is nearly at zero, a gradient goes another way, and single weights of
# AlexNet's first filters then differ by per cents, torch.nn's from the exact ones, too; batch
# normalisation of few images does the same to everything.  So logits and gradients are compared
# number by number in float64, where nothing nearly ties.  In the precision asked for, gradients are
# one long vector (see `distance`), and ours may err as much as the tolerance, or `AS_THEIRS` times
# as much as torch.nn: Winograd's algorithm alone errs ten times as much.
NETWORK = {
    torch.float64: 1e-9,
    torch.float32: 1e-4,
    torch.float16: 2e-2,
    torch.bfloat16: 1e-1,
}
AS_THEIRS = 20


def error(found: Tensor | None, expected: Tensor | None, least: float = 0.0) -> float:
    """Largest difference, relative to the largest number expected, or to `least` if that is more.

    0 where nothing differs, infinite where the shapes do, NaN where a number is.
    """
    if found is None or expected is None or found.shape != expected.shape:
        return 0.0 if found is expected else math.inf
    found, expected = found.detach().double(), expected.detach().double()
    if not found.numel() or torch.equal(found, expected):
        return 0.0
    scale = expected.abs().max().clamp_min(least)
    return ((found - expected).abs().max() / scale).item()


def distance(found: Mapping[str, Tensor | None], expected: Mapping[str, Tensor | None]) -> float:
    """Between two sets of tensors as long vectors, |found - expected| / |expected|."""
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
    layer: torch.nn.Module, inputs: Sequence[Tensor], setting: Setting
) -> dict[str, Tensor | None]:
    """The output, and the gradients of a random upstream gradient by the input and parameters.

    Args:
        layer: in any precision; the upstream gradient has the numbers of `setting`'s.
        inputs: the first is the image, which wants its gradient; others (targets) do not.
    Returns:
        {"output": y, "input": dx, "weight": dw, ...}; None where no gradient arrives.
    """
    torch.manual_seed(0)  # dropout
    y = layer(*inputs)
    wanted = leaves(layer, inputs)
    dy = setting.numbers(y.shape, seed=1).to(y)
    gradients = torch.autograd.grad(y, list(wanted.values()), dy, allow_unused=True)
    return {"output": y.detach(), **dict(zip(wanted, gradients, strict=True))}


def second_derivatives(
    layer: torch.nn.Module, inputs: Sequence[Tensor], setting: Setting
) -> dict[str, Tensor]:
    """Those of  sum over i of  v_i . (gradient by leaf i)  for random directions v.

    Returns:
        by the input and every parameter, and by the "upstream" gradient.
    """
    torch.manual_seed(0)
    y = layer(*inputs)
    wanted = leaves(layer, inputs)
    dy = setting.numbers(y.shape, seed=1).to(y).requires_grad_()
    gradients = torch.autograd.grad(y, list(wanted.values()), dy, create_graph=True)
    directions = (setting.numbers(g.shape, seed=2 + i).to(g) for i, g in enumerate(gradients))
    terms = [(g * v).sum() for g, v in zip(gradients, directions, strict=True)]
    total = torch.stack(terms).sum()
    wanted["upstream"] = dy
    for leaf in wanted.values():
        leaf.grad = None
    total.backward()  # through everything: `grad` alone would not reach a node that only raises
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
    """`error` of each; the two have the same names."""
    return {name: error(found[name], expected[name], least) for name in expected}


def doubled(inputs: Sequence[Tensor]) -> list[Tensor]:
    """The same inputs in float64."""
    image, *others = inputs
    return [image.detach().double().requires_grad_(), *others]


def worst(values: Mapping[str, float]) -> float:
    """The largest error; NaN if there is one."""
    return torch.tensor([*values.values(), 0.0], dtype=torch.float64).max().item()
