"""tyro's command lines, with its complaints in one sentence like all others."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Sequence
from typing import Any

import tyro

from ..errors import UserError, check_text

ASIDE = ("For full helptext", "Argument helptext")  # sections of a complaint that repeat the help


def command_line(options: Any, arguments: Sequence[str], **settings: Any) -> Any:
    """`tyro.cli`.

    Raises:
        UserError: for what tyro draws a box around, and for what is no text.
    """
    for argument in arguments:
        check_text("the argument", argument)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(options, args=arguments, **settings)
    except SystemExit as ended:
        if ended.code != 2:
            sys.stderr.write(complaint.getvalue())
            raise
        raise UserError(sentence(complaint.getvalue())) from None


def sentence(box: str) -> str:
    """What stands in a box, in one line."""
    inside = re.findall("^│(.*)│$", box, re.MULTILINE)
    lines = [line.strip() for line in inside or box.splitlines()[2:]]  # in ASCII, below its title
    sections = [""]
    for line in lines:
        if line and not line.strip("─-"):
            sections.append("")
        else:
            sections[-1] += f" {line}"
    told = [" ".join(section.split()) for section in sections]
    perhaps = " ".join(part for part in told if part.startswith("Perhaps"))
    near = re.findall(r"--[a-z-]+", perhaps)
    problems = [part for part in told if part and not part.startswith(("Perhaps", *ASIDE))]
    hint = f": did you mean {near[0]}?" if near else "; --help lists what there is"
    words = "; ".join(part[0].lower() + part[1:] for part in problems).rstrip(".")
    return (words or "the command line cannot be read") + hint
