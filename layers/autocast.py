"""Mixed precision: inside `torch.autocast` a product runs in the lower precision, as torch's do."""

from __future__ import annotations

import torch
from torch import Tensor


def autocast_operands(*tensors: Tensor | None) -> tuple[Tensor | None, ...]:
    """The operands of a product, cast to autocast's dtype where it is on (float64 never is)."""
    device = next(t.device.type for t in tensors if t is not None)
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(t if t is None or t.dtype == torch.float64 else t.to(dtype) for t in tensors)
