"""Checkpoints: written whole or not at all, read without executing anything."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from ..errors import UserError
from ..options import Options, from_dict, to_dict
from .files import writing

FORMAT, WITHOUT_CHECKSUM = "convnets checkpoint 2", "convnets checkpoint 1"


def save(path: Path, options: Options, **state: Any) -> None:
    """Write options and state (tensors and plain values) to `path`.

    Atomic: a temporary file is written and flushed to the disk, then renamed over `path`, so a
    crash leaves the old checkpoint or the new one, never half of one.

    Raises:
        UserError: the file cannot be written; the old checkpoint is kept.
    """
    whole = {"format": FORMAT, "options": to_dict(options), **state}
    with writing(path) as temporary, temporary.open("wb") as file:
        _save({**whole, "checksum": checksum(whole)}, file)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself
    finally:
        os.close(folder)


def _save(state: dict[str, Any], file: IO[bytes]) -> None:
    """torch.save, which reports a full disk as an error of its own archive."""
    try:
        torch.save(state, file)
    except RuntimeError as error:
        cause = error.__context__
        raise (cause if isinstance(cause, OSError) else OSError(0, str(error))) from None


def load(path: Path) -> tuple[Options, dict[str, Any]]:
    """The options and the state of a checkpoint, on the CPU.

    `weights_only=True`: the file can hold tensors and plain values, never code.

    Raises:
        UserError: no such file, truncated, damaged, or not a checkpoint of ours.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"no checkpoint at {path}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception:  # garbage fails in many ways
        raise UserError(
            f"{path} is not a readable checkpoint: it is truncated or was written by another "
            "program; a run keeps last.pt and best.pt, try the other one"
        ) from None
    known = isinstance(state, dict) and state.get("format") in (FORMAT, WITHOUT_CHECKSUM)
    if not known or "options" not in state:
        raise UserError(f"{path} is not a checkpoint of train.py: it lacks the mark {FORMAT!r}")
    if state["format"] == FORMAT and state.pop("checksum", None) != checksum(state):
        raise UserError(
            f"{path} is damaged: its numbers are not those that were written; a run keeps last.pt "
            "and best.pt, try the other one"
        )
    return from_dict(state["options"], path), state


def require(path: Path, state: dict[str, Any], *keys: str) -> None:
    """
    Raises:
        UserError: the state of a checkpoint lacks one of the keys.
    """
    missing = [key for key in keys if key not in state]
    if missing:
        raise UserError(
            f"{path} lacks {missing[0]!r}: another version or another program wrote it; a run "
            "keeps last.pt and best.pt, try the other one"
        )


def checksum(state: Any) -> str:
    """Of tensors and plain values in dictionaries and lists: PyTorch checks none when it reads."""
    digest = hashlib.blake2b(digest_size=16)

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            flat = value.detach().cpu().contiguous().flatten()
            digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
            digest.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
        elif isinstance(value, dict):
            for key, inner in value.items():
                add(key)
                add(inner)
        elif isinstance(value, list | tuple):
            digest.update(f"{len(value)}".encode())
            for inner in value:
                add(inner)
        else:
            digest.update(repr(value).encode())

    add(state)
    return digest.hexdigest()


def keep(folder: Path, step: int, count: int) -> None:
    """Keep last.pt as step-NUMBER.pt, too, and no more than `count` of those."""
    with writing(folder / f"step-{step}.pt") as temporary:
        shutil.copyfile(folder / "last.pt", temporary)
    kept = sorted(folder.glob("step-*.pt"), key=lambda path: int(path.stem.split("-")[1]))
    for path in kept[:-count]:
        path.unlink()


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
