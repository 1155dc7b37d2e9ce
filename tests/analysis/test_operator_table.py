"""The table of operators in docs/operators.md, and what it is read from."""

import re
from pathlib import Path

import pytest
import torch

import layers.functional as L
from analysis import operator_table
from layers.ops.registry import OPERATORS, record

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = ROOT / "docs/operators.md"


def test_the_document_is_up_to_date():
    assert DOCUMENT.read_text() == operator_table.document(), (
        "run python -m analysis.operator_table > docs/operators.md"
    )


def test_every_operator_has_a_row():
    rows = re.findall(r"^\| `(\w+)` \|", operator_table.document(), re.MULTILINE)
    assert sorted(rows) == sorted(OPERATORS)


@pytest.mark.parametrize(
    ("operator", "shapes", "compute"),
    [
        ("conv2d", [(2, 3, 6, 6), (4, 3, 3, 3)], L.conv2d),
        ("conv2d_input", [(4, 3, 3, 3), (2, 4, 4, 4)], lambda w, g: L.conv2d_input((6, 6), w, g)),
        ("conv2d_weight", [(2, 3, 6, 6), (2, 4, 4, 4)],
         lambda x, g: L.conv2d_weight(x, (4, 3, 3, 3), g)),
        ("max_pool2d", [(2, 3, 6, 6)], lambda x: L.max_pool2d(x, 2)),
        ("window_sum", [(2, 3, 6, 6)], lambda x: L.avg_pool2d(x, 2)),
        ("lp_pool2d", [(2, 3, 6, 6)], lambda x: L.lp_pool2d(x, 2, 2)),
        ("local_response_norm", [(2, 3, 6, 6)], lambda x: L.local_response_norm(x, 5)),
    ],
)  # fmt: skip
def test_what_is_kept_is_what_torch_is_given(operator, shapes, compute):
    inputs = [torch.randn(shape, requires_grad=True) for shape in shapes]
    kept = []
    hooks = torch.autograd.graph.saved_tensors_hooks(kept.append, lambda tensor: tensor)
    with hooks, record() as calls:
        compute(*inputs)
    assert [call.operator for call in calls] == [operator]
    names = operator_table.saved(operator_table.functions()[operator], operator)
    given = dict(zip(OPERATORS[operator].types, inputs, strict=False))
    for name, tensor in zip(names, kept, strict=True):
        assert tensor.data_ptr() == given.get(name, tensor).data_ptr()


def test_listed_files_test_what_they_are_listed_for():
    """They name one of the functions of the file in layers/ that the row names."""
    for row in operator_table.document().splitlines():
        files = {*re.findall(r"\(\.\./(layers/(?:distributed/)?\w+)\.py\)", row)}
        module = ("".join(files) or "layers/cross_entropy").replace("/", ".")
        names = [name for name in L.__all__ if getattr(L, name).__module__ == module]
        for file in re.findall(r"\(\.\./(tests/layers/\S+)\)", row):
            assert re.search(rf"\b({'|'.join(names)})\b", (ROOT / file).read_text()), row
