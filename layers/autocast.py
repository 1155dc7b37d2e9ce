"""Mixed precision: inside `torch.autocast` a product runs in the lower precision, as torch's do."""

from __future__ import annotations

import torch
from torch import Tensor


def autocast(operand: Tensor) -> Tensor:
    """A product's operand, in autocast's dtype where autocast is on (float64 stays as it is)."""
    device = operand.device.type
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return operand
    if operand.dtype == torch.float64:
        return operand
    return operand.to(torch.get_autocast_dtype(device))
