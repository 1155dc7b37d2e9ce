"""Mixed precision: inside `torch.autocast` a product runs in the lower precision, as torch's do."""

from __future__ import annotations

import torch
from torch import Tensor


def autocasting(operand: Tensor) -> bool:
    """Whether autocast is on for the operand's device, and touches it (float64 it never does)."""
    device = operand.device.type
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return on and operand.dtype != torch.float64


def autocast(*operands: Tensor | None) -> tuple[Tensor | None, ...]:
    """A product's operands, in autocast's dtype where autocast is on for the first of them."""
    if operands[0] is None or not autocasting(operands[0]):
        return operands
    dtype = torch.get_autocast_dtype(operands[0].device.type)
    return tuple(None if t is None else t.to(dtype) for t in operands)
