"""Checkpoints: written whole or not at all, read without executing anything."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .errors import UserError
from .options import Options, from_dict, to_dict

FORMAT = "convnets checkpoint 1"


def save(path: Path, options: Options, **state: Any) -> None:
    """Write options and state (tensors and plain values) to `path`.

    Atomic: a temporary file is written and flushed to the disk, then renamed over `path`, so a
    crash leaves the old checkpoint or the new one, never half of one.
    """
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        torch.save({"format": FORMAT, "options": to_dict(options), **state}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself
    finally:
        os.close(folder)


def load(path: Path) -> tuple[Options, dict[str, Any]]:
    """The options and the state of a checkpoint, on the CPU.

    `weights_only=True`: the file can hold tensors and plain values, never code.

    Raises:
        UserError: no such file, truncated, or not a checkpoint of ours.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"no checkpoint at {path}") from None
    except Exception:  # garbage fails in many ways
        raise UserError(
            f"{path} is not a readable checkpoint: it is truncated or was written by another "
            "program; a run keeps last.pt and best.pt, try the other one"
        ) from None
    if not isinstance(state, dict) or state.get("format") != FORMAT or "options" not in state:
        raise UserError(f"{path} is not a checkpoint of train.py: it lacks the mark {FORMAT!r}")
    return from_dict(state["options"]), state


def random_state() -> dict[str, Any]:
    """Where every generator of random numbers stands."""
    numpy = np.random.get_state(legacy=False)
    keys = torch.as_tensor(numpy["state"]["key"].astype(np.int64))
    return {
        "torch": torch.get_rng_state(),
        **_accelerator_state(),
        "numpy": {**numpy, "state": {**numpy["state"], "key": keys}},
        "python": random.getstate(),
    }


def _accelerator_state() -> dict[str, list[torch.Tensor]]:
    """The random state of every GPU by device type, as {"cuda": [...]}; empty without one."""
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None:
        return {}
    module = torch.get_device_module(device)
    if hasattr(module, "get_rng_state_all"):
        return {device.type: module.get_rng_state_all()}
    return {device.type: [module.get_rng_state()]}


def restore_random_state(state: dict[str, Any]) -> None:
    """Restore every generator; the states of devices that this machine lacks are ignored."""
    torch.set_rng_state(state["torch"])
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is not None and state.get(device.type):
        module = torch.get_device_module(device)
        saved = state[device.type][: module.device_count()]  # of a machine that may have had more
        if hasattr(module, "set_rng_state_all"):
            module.set_rng_state_all(saved)
        else:
            module.set_rng_state(saved[0])
    keys = state["numpy"]["state"]["key"].numpy().astype(np.uint32)
    np.random.set_state({**state["numpy"], "state": {**state["numpy"]["state"], "key": keys}})
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
