"""What sets a paper's network apart from the variant that pretrained weights exist for.

python -m analysis.differences > docs/differences.md

Both networks are built, and their layers, in the order they are built in, laid side by side as two
versions of a text are.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher

import torch

import models

PAIRS = (  # the paper's, torchvision's
    ("alexnet", "alexnet_owt"),
    ("googlenet", "googlenet_bn"),
    ("resnet50_v1", "resnet50"),
    ("resnet101_v1", "resnet101"),
    ("resnet152_v1", "resnet152"),
    ("vgg11_lrn", "vgg11"),
)


def described(name: str) -> list[tuple[str, str]]:
    """The layers of a network, (where, what); containers and ReLUs are left out."""
    with torch.device("meta"):
        network = models.build(name, nn=torch.nn)
    found = []
    for where, module in network.named_modules():
        if [*module.children()] or isinstance(module, torch.nn.ReLU):
            continue
        found.append((where, f"{type(module).__name__}({module.extra_repr()})"))
    return found


def differences(paper: str, other: str) -> Iterator[tuple[str, str]]:
    """Layers that the two do not share, (the paper's, the other's); "" where one has none."""
    ours, theirs = described(paper), described(other)
    matcher = SequenceMatcher(None, [w for _, w in ours], [w for _, w in theirs], autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            continue
        left, right = (
            [f"`{where}` {what}" for where, what in part] for part in (ours[a:b], theirs[c:d])
        )
        for row in range(max(len(left), len(right))):
            yield left[row] if row < len(left) else "", right[row] if row < len(right) else ""


def parameters(name: str) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in models.build(name, nn=torch.nn).parameters())


def table(paper: str, other: str) -> str:
    """A Markdown section for a pair."""
    lines = [
        f"## {paper} and {other}", "",
        f"| {paper}: {parameters(paper):,} parameters | {other}: {parameters(other):,} |",
        "|---|---|",
    ]  # fmt: skip
    lines += [f"| {left} | {right} |" for left, right in differences(paper, other)]
    return "\n".join(lines)


HEADER = """# Paper and pretrained

Pretrained weights exist for networks that are not quite the papers'. Every layer in which the two
differ, the paper's on the left; an empty cell is a layer that one of them does not have. What
cannot be seen in a list of layers stands in the networks' docstrings: initialisation, and how
torchvision rescales GoogLeNet's images.

Written by `python -m analysis.differences > docs/differences.md`; a test keeps it true.
"""


def document() -> str:
    return "\n".join([HEADER, *(table(*pair) + "\n" for pair in PAIRS)])


if __name__ == "__main__":
    print(document(), end="")
