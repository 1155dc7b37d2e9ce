"""Every worked number of the chapter is printed by the command that docs/chapter.md names."""

import io
import re
import shlex
import sys
import warnings
from pathlib import Path

import pytest

import summarize

CHAPTER = (Path(__file__).parent.parent / "docs" / "chapter.md").read_text()
ROWS = re.findall(r"^\| (.+?) \| `python summarize\.py (.+?)` \| (.+) \|$", CHAPTER, re.MULTILINE)
printed: dict[str, str] = {}  # by command


def output(command, monkeypatch):
    """What a command prints, warnings included; each runs once."""
    if command not in printed:
        monkeypatch.setattr(sys, "argv", ["summarize.py", *shlex.split(command)])
        monkeypatch.setattr(sys, "stdout", io.StringIO())
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            summarize.main()
        sentences = [str(warning.message) for warning in caught]
        printed[command] = "\n".join((sys.stdout.getvalue(), *sentences))
    return printed[command]


def test_there_are_many():
    assert len(ROWS) >= 25


@pytest.mark.parametrize(("what", "command", "numbers"), ROWS, ids=[row[0] for row in ROWS])
def test_a_command_prints_the_numbers(what, command, numbers, monkeypatch):
    text = output(command, monkeypatch)
    for number in re.findall("`([^`]+)`", numbers):
        assert number in text, number


def test_vgg16_prints_the_chapter_s_table_line_by_line(monkeypatch):
    lines = output("vgg16", monkeypatch).splitlines()
    table = [" ".join(line.split()) for line in lines if "memory:" in line and "weights:" in line]
    assert len(table) == 22
    assert table[0] == "INPUT: [224x224x3] memory: 224*224*3=150K weights: 0"
    assert table[2] == (
        "CONV3-64: [224x224x64] memory: 224*224*64=3.2M weights: (3*3*64)*64 = 36,864"
    )
    assert table[18] == "POOL2: [7x7x512] memory: 7*7*512=25K weights: 0"
    assert table[19] == ("FC: [1x1x4096] memory: 4096 weights: 7*7*512*4096 = 102,760,448")
