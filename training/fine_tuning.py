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

    With --freeze only the head; everything else then gets no gradient.  With --decay weights,
    biases and scales are groups of their own.  `curve` is the name of a group's learning rate in
    TensorBoard.
    """
    groups: list[dict[str, Any]] = [{"params": list(model.parameters())}]
    if options.freeze or options.head_lr is not None:
        names = {*pretrained.head(model)}
        head = [parameter for name, parameter in model.named_parameters() if name in names]
        body = [parameter for name, parameter in model.named_parameters() if name not in names]
        groups = [
            {"params": body},
            {"params": head, "lr": options.head_lr or options.lr, "curve": "head_learning_rate"},
        ]
        if options.freeze:
            groups = groups[1:]
            for parameter in body:
                parameter.requires_grad_(False)
    if options.decay == "weights":
        groups = [part for group in groups for part in _by_decay(group)]
    return groups


def _by_decay(group: dict[str, Any]) -> list[dict[str, Any]]:
    """A group as two: weights (two dimensions and more), and the rest, which does not decay."""
    weights = [p for p in group["params"] if p.dim() > 1]
    others = [p for p in group["params"] if p.dim() <= 1]
    return [{**group, "params": weights}, {**group, "params": others, "weight_decay": 0.0}]


def train_mode(model: torch.nn.Module) -> None:
    """`model.train()`, in which frozen batch normalisation goes on using its running statistics:
    they belong to the frozen weights, and a few batches of other images would change them."""
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and not module.weight.requires_grad:
            module.eval()
