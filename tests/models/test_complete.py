"""Every network of models.MODELS has all that CONTRIBUTING.md asks for ("Add a network")."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import models
from models.pretrained import TORCHVISION
from tests.models.cases import NETWORKS
from training.recipes import RECIPES

README = (Path(__file__).parent.parent.parent / "README.md").read_text()
SECTION = README.split("## The networks\n")[1].split("\n## ")[0]
IN_README = [
    name
    for line in SECTION.splitlines() if line.startswith("|")
    for name in re.findall(r"`(\w+)`", line.split("|")[1])
]  # fmt: skip
IN_TESTS = [case.name for case in NETWORKS]
TWINS = {case.name: case.torchvision for case in NETWORKS if case.torchvision}


def missing(name: str) -> Iterator[str]:
    if not getattr(models.MODELS[name], "func", models.MODELS[name]).__doc__:
        yield "a docstring: give its class or function one that says which paper it is from"
    if name not in RECIPES:
        yield f'a recipe: add "{name}" to RECIPES in training/recipes.py'
    if name not in IN_TESTS:
        yield (
            f'a test case: add NetworkCase("{name}", parameters, macs, small image size), with its '
            "paper's figures, to NETWORKS in tests/models/cases.py"
        )
    if TWINS.get(name) != TORCHVISION.get(name):
        yield (
            "the same name of torchvision's network in TORCHVISION (models/pretrained.py) and in "
            f"its test case (tests/models/cases.py): {TORCHVISION.get(name)}, {TWINS.get(name)}"
        )
    if name not in IN_README:
        yield f'its row: add `{name}` and its paper to the table of "The networks" in README.md'


@pytest.mark.parametrize("name", models.MODELS)
def test_a_network_has_all_it_needs(name):
    if found := list(missing(name)):
        pytest.fail("\n".join(f"{name} lacks {what}" for what in found), pytrace=False)


@pytest.mark.parametrize(
    ("place", "names"),
    [
        ("RECIPES in training/recipes.py", RECIPES),
        ("NETWORKS in tests/models/cases.py", IN_TESTS),
        ('the table of "The networks" in README.md', IN_README),
    ],
    ids=["recipes", "cases", "README"],
)
def test_every_name_is_a_network(place, names):
    for name in names:
        if name not in models.MODELS:
            pytest.fail(f"{place} has {name}, but MODELS in models/__init__.py has not: add it "
                        "there, or delete it here", pytrace=False)  # fmt: skip
