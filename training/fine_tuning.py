"""Training that starts from weights that exist: what is loaded, what is trained, how fast.

The head is the last layer, which gives the scores (`models.pretrained.head`).
"""

from __future__ import annotations

from typing import Any

import torch

from models import pretrained

from .errors import UserError
from .options import Options


def load_weights(model: torch.nn.Module, options: Options) -> str:
    """Load --weights into a network; returns what was loaded, in one line.

    Raises:
        UserError: they do not exist, or do not fit.
    """
    assert options.weights is not None
    try:
        return pretrained.load(model, options.model, options.weights)
    except ValueError as error:
        raise UserError(f"--weights {options.weights}: {error}") from None


def parameter_groups(model: torch.nn.Module, options: Options) -> list[dict[str, Any]]:
    """What the optimiser trains: everything at --lr, but the head at --head-lr.

    With --freeze only the head; everything else then gets no gradient.  `curve` is the name of a
    group's learning rate in TensorBoard.
    """
    if not options.freeze and options.head_lr is None:
        return [{"params": list(model.parameters())}]
    names = {*pretrained.head(model)}
    head = [parameter for name, parameter in model.named_parameters() if name in names]
    body = [parameter for name, parameter in model.named_parameters() if name not in names]
    groups = [{"params": head, "lr": options.head_lr or options.lr, "curve": "head_learning_rate"}]
    if not options.freeze:
        return [{"params": body}, *groups]
    for parameter in body:
        parameter.requires_grad_(False)
    return groups


def train_mode(model: torch.nn.Module) -> None:
    """`model.train()`, in which frozen batch normalisation goes on using its running statistics:
    they belong to the frozen weights, and a few batches of other images would change them."""
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and not module.weight.requires_grad:
            module.eval()
