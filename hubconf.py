"""The networks for torch.hub, from a copy of this repository.

torch.hub.load(".", "lenet", source="local")                    # ours
torch.hub.load(".", "lenet", source="local", layers="torch")    # torch.nn's
"""

from collections.abc import Callable as _Callable
from functools import partial as _partial
from typing import Any as _Any

import torch as _torch

import models as _models
from models import pretrained as _pretrained

dependencies = ["torch"]  # and torchvision, for weights="imagenet" alone

_HOW_TO_CALL = (
    ": that is no other network, but custom's called inside `with layers.reference():`, which is a "
    "switch of the whole process"
)


def _description(builder: _Callable[..., _torch.nn.Module]) -> str:
    """Its docstring; of one network of a family, the family's and which one it is."""
    if not isinstance(builder, _partial):
        return builder.__doc__ or ""
    chosen = [
        str(getattr(getattr(value, "func", value), "__name__", value)) for value in builder.args
    ]
    chosen += [f"{name}={value}" for name, value in builder.keywords.items()]
    return f"{_description(builder.func)}\n    This one: {', '.join(chosen)}.\n"


def _entry_point(name: str, builder: _Callable[..., _torch.nn.Module]) -> _Callable:
    def entry_point(
        *, layers: str = "custom", weights: str | None = None, **options: _Any
    ) -> _torch.nn.Module:
        if layers not in ("custom", "torch"):
            why = _HOW_TO_CALL if layers in _models.LAYER_SETS else ""
            raise ValueError(f"layers must be custom or torch, got {layers!r}{why}")
        if weights is not None:
            options = _pretrained.builder_options(name) | options
        model = _models.build(name, nn=_models.LAYER_SETS[layers], **options)
        if weights is not None:
            _pretrained.load(model, name, weights)
        return model

    entry_point.__name__ = name
    entry_point.__doc__ = f"""{_description(builder)}
    From torch.hub:
        layers: "custom" for ours, "torch" for torch.nn's.
        weights: None for fresh ones, "imagenet" for torchvision's, or a file of weights; a head for
            another `num_classes` stays fresh.
        Every other argument goes to the network above.
    """
    return entry_point


globals().update({name: _entry_point(name, build) for name, build in _models.MODELS.items()})
