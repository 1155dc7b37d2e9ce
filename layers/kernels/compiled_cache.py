"""Compiled loops on disk, for the next process: numba's cache, keyed by all sources of this folder.

numba takes compiled code for current as long as the one file that a function stands in is the same,
although the code holds whatever that function calls.  Here it lies in a folder of its own for each
state of all files, `__pycache__/loops-<digest>/`, so that functions can be shared between files and
nobody has to delete anything.  Folders of other states are removed.

What cannot be read is compiled again.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache, IndexDataCacheFile, NullCache

from .fallback import warn_once

PREFIX = "loops-"
NOT_KEPT = (
    "compiled loops are not kept, so that every process compiles them again, about a second each: "
    "set NUMBA_CACHE_DIR to a folder that can be written to"
)


@cache
def sources_digest() -> str:
    """Of every file in this folder, by name and content."""
    files = sorted(filter(Path.is_file, Path(__file__).parent.glob("*.py")))
    lines = (f"{file.name} {sha256(file.read_bytes()).hexdigest()}" for file in files)
    return sha256("\n".join(lines).encode()).hexdigest()[:16]


def disk_cache(function: Any) -> Any:
    """Where numba shall look for compiled code of the function, and keep it."""
    try:
        return SourcesCache(function)
    except Exception:  # no folder can be written to, say
        return NoCache()


class SourcesCache(FunctionCache):
    """numba's cache of a function, in a folder of the sources' digest."""

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        self._folder = Path(self.cache_path, PREFIX + sources_digest())
        self._cache_file = IndexDataCacheFile(
            cache_path=str(self._folder),
            filename_base=self._impl.filename_base,
            source_stamp=self._impl.locator.get_source_stamp(),
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # a file that was not written to its end, say
            with suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            if not self._folder.exists():
                self._replace_others()
            super().save_overload(sig, data)
        except Exception as error:  # a full disk, say
            warn_once(f"{NOT_KEPT} ({self._folder}: {error})")

    def _replace_others(self) -> None:
        for other in self._folder.parent.glob(f"{PREFIX}*"):
            if other != self._folder:  # which another process may just have made
                shutil.rmtree(other, ignore_errors=True)
        self._folder.mkdir(exist_ok=True)


class NoCache(NullCache):
    """Every process compiles anew, and says so."""

    def save_overload(self, sig: Any, data: Any) -> None:
        warn_once(NOT_KEPT)
