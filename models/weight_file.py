"""The weights in a file: ours, torchvision's, or what one's own training with another program left.

Only tensors and plain values are read (`weights_only=True`), never code.  The one class that is
allowed besides is argparse.Namespace, the `args` of torchvision's references and of timm: it has no
code of its own that reading it would run, and what it holds is read under the same rules.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

OURS = "convnets checkpoint"  # how the mark in a checkpoint of train.py begins
PLAIN = ("model", "state_dict")  # where weights lie: torchvision's references, timm
AVERAGED = ("model_ema", "state_dict_ema", "ema")  # and where their moving averages do
WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and AveragedModel, and of torch.compile


class Weights(NamedTuple):
    state: dict[str, Tensor]  # a state_dict, without the prefixes of wrappers
    key: str  # where it lay in the file, if that needs saying
    rescaled: bool  # whether GoogLeNet's weights expect pixels in [-1, 1]


def read(path: Path) -> Weights:
    """The weights in a file, or in the best.pt of a run's folder.

    Of a checkpoint of ours that keeps a moving average, the average: it is what was validated.  Of
    another program's, the plain weights, and an average only where there are no others.

    Raises:
        ValueError: no such file, or no weights in it.
    """
    try:
        path = path / "best.pt" if path.is_dir() else path
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}: give imagenet, or a file of weights") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception:  # arbitrary bytes raise many types
        raise ValueError(_unreadable(path)) from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no weights: expected a checkpoint, or a state_dict")
    is_ours = str(content.get("format", "")).startswith(OURS)
    for key in ("ema", "model") if is_ours else (*PLAIN, *AVERAGED):
        if _is_state(content.get(key)):
            rescaled = bool(content.get("transform_input", False))
            told = "" if is_ours and key == "model" else key
            return Weights(_unwrapped(content[key]), told, rescaled)
    if _is_state(content):
        return Weights(_unwrapped(content), "", rescaled=True)  # torchvision's
    found = ", ".join(map(str, list(content)[:8])) or "none"
    raise ValueError(
        f"{path} holds no weights: expected a state_dict, or one under "
        f"{', '.join((*PLAIN, *AVERAGED))}; its keys are {found}"
    )


def _unreadable(path: Path) -> str:
    """Why a file is not read, in a sentence."""
    advice = "save model.state_dict() alone with the program that wrote it"
    try:
        strange = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # no archive of torch's
        strange = []
    strange = [name for name in strange if name != "argparse.Namespace"]
    if strange:  # one's own class rather than torch's
        name = min(strange, key=lambda name: (name.startswith("torch."), name))
        return (
            f"{path} holds a {name}, and more than tensors and plain values is not read, "
            f"because that could run code: {advice}"
        )
    return f"{path} is not readable as weights: it is truncated, or of another format; {advice}"


def _is_state(value: Any) -> bool:
    """Whether a value is a state_dict."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
    )


def _unwrapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefixes of wrappers, which may lie around each other, and their counter."""
    state = {key: tensor for key, tensor in state.items() if key != "n_averaged"}
    while state and (prefix := _prefix(state)):
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state


def _prefix(state: dict[str, Tensor]) -> str | None:
    """The wrapper's that all keys begin with."""
    return next((p for p in WRAPPERS if all(key.startswith(p) for key in state)), None)
