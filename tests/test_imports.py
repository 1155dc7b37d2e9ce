"""Imports point one way: layers <- models <- analysis <- training <- commands."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "layers": set(),
    "models": {"layers"},
    "analysis": {"layers", "models"},
    "training": {"layers", "models", "analysis"},
}
FILES = [(folder, file) for folder in ALLOWED for file in sorted((ROOT / folder).glob("*.py"))]


def imported(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


@pytest.mark.parametrize(("folder", "file"), FILES, ids=[f"{f}/{p.name}" for f, p in FILES])
def test_a_folder_imports_only_what_lies_below_it(folder, file):
    ours = {name.split(".")[0] for name in imported(file)} & {*ALLOWED}
    assert ours <= ALLOWED[folder] | {folder}


@pytest.mark.parametrize("file", sorted((ROOT / "layers").glob("*.py")), ids=lambda p: p.name)
def test_layers_need_torch_and_numba_alone(file):
    standard = {
        "__future__",
        "copy",
        "ctypes",
        "collections",
        "math",
        "typing",
        "inspect",
        "functools",
        "types",
        "threading",
    }
    ours = {"torch", "numpy", "numba", "llvmlite"}  # the last is numba's
    assert {name.split(".")[0] for name in imported(file)} <= standard | ours


@pytest.mark.parametrize(
    "file", [file for _, file in FILES], ids=lambda p: f"{p.parent.name}/{p.name}"
)
def test_a_file_has_one_idea(file):
    assert len(file.read_text().splitlines()) <= 300
