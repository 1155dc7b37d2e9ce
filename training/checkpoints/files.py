"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import UserError

FULL = {errno.ENOSPC: "no space is left", errno.EDQUOT: "the quota is used up"}


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`, which takes its place when the block is done.

    Raises:
        UserError: it cannot be written; what was there before is kept.
    """
    temporary = path.with_suffix(".tmp")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        why = FULL.get(error.errno or 0, error.strerror or str(error))
        raise UserError(
            f"cannot write {path}: {why}; what was written before is whole: make room, or see to "
            f"the folder's permissions, and go on with --resume {path.parent}"
        ) from None


def to_json(value: Any) -> str:
    """Valid JSON, which has no NaN and no infinity: null in their place."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [plain(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(value), indent=2, allow_nan=False) + "\n"


def write_text(path: Path, text: str) -> None:
    with writing(path) as temporary:
        temporary.write_text(text)
