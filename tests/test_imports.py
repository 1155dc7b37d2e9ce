"""Imports point one way: layers <- models <- analysis <- training <- commands.

And within layers/: interop/ <- ops/ <- arguments/ <- layers/*.py <- distributed/, and ops/ <-
kernels/, whose table layers/__init__.py takes.
"""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "layers": set(),
    "models": {"layers"},
    "analysis": {"layers", "models"},
    "training": {"layers", "models", "analysis"},
}
FILES = [(folder, file) for folder in ALLOWED for file in sorted((ROOT / folder).rglob("*.py"))]


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


LAYERS = sorted((ROOT / "layers").rglob("*.py"))
STOREYS = {  # which others a storey imports
    "layers": {"arguments", "interop", "ops"},
    "arguments": {"ops"},
    "ops": {"interop"},
    "interop": set(),
    "kernels": {"interop", "ops"},
    "distributed": {"arguments", "autograd", "batch_norm", "interop", "ops"},
}
RULES = {"flops.py", "vmap.py"}  # of interop/, for operators: what a tool of torch's asks of one


@pytest.mark.parametrize("file", LAYERS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_a_storey_of_layers_imports_what_it_may(file):
    package = file.relative_to(ROOT).parent.parts
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            absolute = ".".join((*package[: len(package) + 1 - node.level], node.module or ""))
            names |= {f"{absolute.rstrip('.')}.{alias.name}".split(".")[1] for alias in node.names}
    storey = package[1] if len(package) > 1 else "layers"
    others = names & {"kernels", *STOREYS} if storey == "layers" else names - {storey}
    public = file.name == "__init__.py" and storey == "layers"
    table = {"kernels", "distributed"} if public else set()
    rules = {"ops"} if file.name in RULES and storey == "interop" else set()
    assert others - {"layers"} <= STOREYS[storey] | table | rules


@pytest.mark.parametrize("file", LAYERS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_layers_need_torch_and_numba_alone(file):
    ours = {"torch", "numpy", "numba", "llvmlite"}  # the last is numba's
    ours |= {"triton"} if file.parent.name == "triton" else set()
    assert {name.split(".")[0] for name in imported(file)} <= sys.stdlib_module_names | ours


@pytest.mark.parametrize(
    "file", [file for _, file in FILES], ids=lambda p: f"{p.parent.name}/{p.name}"
)
def test_a_file_has_one_idea(file):
    assert len(file.read_text().splitlines()) <= 300
