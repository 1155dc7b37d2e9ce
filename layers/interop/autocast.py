"""Mixed precision: inside `torch.autocast` an operator runs in the precision that torch's runs in.

Products run in the lower one.  What adds up many numbers, or raises them to a power, runs in
float32, and returns it; which operators those are depends on the device.
"""

from __future__ import annotations

import torch
from torch import Tensor

# torch's own lists ("Autocast Op Reference"), by our names.  torch computes `lp_pool2d` and
# `local_response_norm` by `pow`, which is on CUDA's list; a CPU's has `avg_pool3d` in its place,
# of which only the latter is made.
CPU_FLOAT32 = {"cross_entropy", "local_response_norm", "max_unpool2d"}
CUDA_FLOAT32 = {"cross_entropy", "local_response_norm", "log_softmax", "lp_pool2d", "softmax"}
MPS_FLOAT32 = CUDA_FLOAT32 | {"batch_norm"}
FLOAT32 = {"cpu": CPU_FLOAT32, "mps": MPS_FLOAT32}  # every other device follows CUDA


def autocasting(operand: Tensor) -> bool:
    """Whether autocast is on for the operand's device, and touches it.

    It never does float64, nor what is no floating-point number.
    """
    device = operand.device.type  # "meta" has no autocast, and torch raises when asked
    on = device != "meta" and torch.is_autocast_enabled(device)
    return on and operand.is_floating_point() and operand.dtype != torch.float64


def autocast(*operands: Tensor | None) -> tuple[Tensor | None, ...]:
    """A product's operands, each in autocast's dtype where autocast touches it."""
    if operands[0] is None or not autocasting(operands[0]):
        return operands
    dtype = torch.get_autocast_dtype(operands[0].device.type)
    return tuple(t.to(dtype) if t is not None and autocasting(t) else t for t in operands)


def autocast_float32(name: str, input: Tensor) -> Tensor:
    """The input of the operator of that name, in float32 where autocast runs it so."""
    listed = name in FLOAT32.get(input.device.type, CUDA_FLOAT32)
    return input.float() if listed and autocasting(input) else input
