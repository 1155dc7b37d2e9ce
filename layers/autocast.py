"""Mixed precision: inside `torch.autocast` a product runs in the lower precision, as torch's do."""

from __future__ import annotations

import torch
from torch import Tensor


def autocasting(operand: Tensor) -> bool:
    """Whether autocast is on for the operand's device, and touches it (float64 it never does)."""
    device = operand.device.type
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return on and operand.dtype != torch.float64


def autocast(operand: Tensor) -> Tensor:
    """A product's operand, in autocast's dtype where autocast is on."""
    if not autocasting(operand):
        return operand
    return operand.to(torch.get_autocast_dtype(operand.device.type))
