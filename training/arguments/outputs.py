"""Where results go, looked at before they are computed."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import UserError


def check_output(option: str, folder: Path) -> None:
    """That a folder can be written to, or made; it is not made yet.

    Raises:
        UserError: names the option that says which folder.
    """
    existing = folder.absolute()
    while not os.path.lexists(existing) and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise UserError(f"{option} {folder}: {existing} is not a folder; choose another")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"{option} {folder}: {existing} cannot be written to; choose another")
