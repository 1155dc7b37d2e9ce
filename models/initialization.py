"""The layers that a paper's initialisation applies to."""

from __future__ import annotations

from typing import Any

import torch


def weighted_layers(model: torch.nn.Module) -> list[Any]:
    """The convolutions and linear layers, from input to output."""
    return [m for m in model.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
