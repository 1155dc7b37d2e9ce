"""Bad input gets one clear sentence: what was wrong, what was expected, what to try."""

from __future__ import annotations

import difflib
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable

from .interrupt import Interrupted

LONGEST = 1600  # characters of a sentence


class UserError(Exception):
    """Something the user can mend; shown without a traceback, exit code 2."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """`kind` has no `name`: say the nearest names, or all of them."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(known)}"
    return UserError(f"unknown {kind} {name!r}: {hint}")


def run(main: Callable[[], None]) -> None:
    """Run a command's `main`; turn what is known to end it into a sentence and an exit code (2 for
    a `UserError`), and a warning into its sentence.

    Of the processes that torchrun starts on a machine, the first one speaks.
    """
    warnings.formatwarning = lambda message, *_, **__: f"warning: {in_one_line(str(message))}\n"
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        main()
    except BrokenPipeError:  # who reads the output, as `head` does, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except (Exception, KeyboardInterrupt) as error:
        known = ending(error)
        if known is None:
            raise
        sentence, code = known
        if os.environ.get("LOCAL_RANK", "0") == "0":
            print(sentence, file=sys.stderr)
        raise SystemExit(code) from None


def ending(error: BaseException) -> tuple[str, int] | None:
    """The sentence and the exit code that an error ends a command with; None for a mistake of ours,
    which has a traceback."""
    if isinstance(error, UserError):
        sentence = str(error).rsplit("UserError: ", 1)[-1].strip()  # a loader's worker adds its own
        return f"error: {in_one_line(sentence)}", 2
    if lost := lost_worker(error):
        return f"error: {lost}: give fewer --workers", 2
    if isinstance(error, MemoryError | RuntimeError) and is_out_of_memory(error):
        return (
            "error: there is not enough memory: give a smaller --batch-size or --image-size, or "
            "choose a smaller network"
        ), 2
    if isinstance(error, Interrupted):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", 130
    return None


def in_one_line(sentence: str) -> str:
    """Without what a terminal would not print, and without the middle of a very long one."""
    if len(sentence) > LONGEST:
        sentence = f"{sentence[: LONGEST // 2]} ... {sentence[-LONGEST // 2 :]}"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in sentence)


def check_text(what: str, text: str) -> None:
    """That a file can have the text in its name, or in it: no NUL, no bytes that are no UTF-8.

    Raises:
        UserError: it has one.
    """
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise UserError(f"{what} {text!a} is no text: it has a NUL, or bytes that are not UTF-8")


def lost_worker(error: BaseException) -> str | None:
    """What became of a loader's process, if the error is about that; torch's words."""
    words = " ".join(str(error).split())
    if isinstance(error, RuntimeError):
        if "DataLoader worker" in words and ("killed by signal" in words or "exited" in words):
            how = re.search(r"killed by signal: ([^.]*)", words)
            return f"a process that loads images was lost ({how[1] if how else 'it ended'})"
        if "shared memory" in words or "torch_shm" in words:
            return "the shared memory is too small for the images"
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """torch raises RuntimeError, whose words depend on the device."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(
        sign in words for sign in ("out of memory", "can't allocate memory", "bad_alloc")
    )
