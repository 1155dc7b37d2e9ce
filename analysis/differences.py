"""Differences between a paper's network and the variant that has pretrained weights.

python -m analysis.differences > docs/differences.md

Both networks are built, and their layers are aligned in order of construction, as in a text diff.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any, NamedTuple

import torch

import models
from models.sizing import as_pair

PAIRS = (  # the paper's, torchvision's
    ("alexnet", "alexnet_owt"),
    ("googlenet", "googlenet_bn"),
    ("resnet50_v1", "resnet50"),
    ("resnet101_v1", "resnet101"),
    ("resnet152_v1", "resnet152"),
    ("vgg11_lrn", "vgg11"),
)


class Layer(NamedTuple):
    name: str  # in the network
    kind: str
    description: str

    def __str__(self) -> str:
        return f"`{self.name}` {self.description}"


def describe_network(name: str) -> list[Layer]:
    """The layers of a network; batch normalisation is part of the preceding convolution."""
    with torch.device("meta"):
        network = models.build(name, nn=torch.nn)
    found: list[Layer] = []
    for path, module in network.named_modules():
        if [*module.children()] or isinstance(module, torch.nn.ReLU):
            continue
        if isinstance(module, torch.nn.BatchNorm2d) and found:
            description = f"{found[-1].description}, batch norm"
            found[-1] = found[-1]._replace(description=description)
        else:
            found.append(Layer(path, type(module).__name__, describe_layer(module)))
    return found


def describe_layer(module: Any) -> str:
    """A layer's type and its options, without those that have their default."""
    kind = type(module).__name__
    if isinstance(module, torch.nn.Conv2d):
        text = f"{kind} {module.in_channels} -> {module.out_channels}"
    elif isinstance(module, torch.nn.MaxPool2d | torch.nn.AvgPool2d):
        text = kind
    elif isinstance(module, torch.nn.Dropout):
        return f"{kind} {module.p}"
    else:
        return f"{kind}({module.extra_repr()})"
    text += f", {'x'.join(map(str, as_pair(module.kernel_size)))}"
    for name, default in (("stride", 1), ("padding", 0), ("groups", 1), ("ceil_mode", False)):
        value = getattr(module, name, default)
        if value not in (default, (default, default)):
            text += f", {name} {value[0] if isinstance(value, tuple) else value}"
    return text


def differences(paper: str, other: str) -> Iterator[tuple[str, str]]:
    """Pairs of layers that differ, (the paper's, the other's); "" where one has none."""
    ours, theirs = describe_network(paper), describe_network(other)
    kinds = [layer.kind for layer in ours], [layer.kind for layer in theirs]
    for _, a, b, c, d in SequenceMatcher(None, *kinds, autojunk=False).get_opcodes():
        for left, right in zip_longest(ours[a:b], theirs[c:d]):
            if left is None or right is None or left.description != right.description:
                yield str(left or ""), str(right or "")


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
