"""One warning wherever kernels are slower than they might be, and what to do about it."""

from __future__ import annotations

import warnings

_warned: set[str] = set()


def warn_once(message: str) -> None:
    """Issue a warning that this process has not issued yet."""
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, stacklevel=3)
