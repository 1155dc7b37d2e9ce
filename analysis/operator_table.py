"""Every operator of layers/ and what computes it, read from the code.

python -m analysis.operator_table > docs/operators.md
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any, get_type_hints

import torch
from torch import Tensor

import layers
from layers.explain import source_file
from layers.interop.function import Function
from layers.ops.geometry import Geometry, Pair
from layers.ops.registry import OPERATORS, TABLE

ROOT = Path(__file__).parent.parent
TESTS = {  # in tests/layers/, of files in layers/ whose tests are not test_<the file's name>.py
    "activation": ["pointwise", "normalization"],
    "avg_pool": ["pooling"],
    "batch_norm": ["normalization", "batch_norm"],
    "cross_entropy": ["pointwise"],
    "dropout": ["normalization"],
    "linear": ["pointwise"],
    "local_response_norm": ["normalization"],
    "lp_pool": ["pooling"],
    "max_pool": ["max_pooling"],
    "softmax": ["normalization"],
    "sync_batch_norm": ["distributed"],
}

HEADER = """# The operators

A row for each operator goes down the three storeys of `layers/`: the autograd Function that calls
it and the tensors that it keeps for its backward pass; the definition; the kernels in the order in
which they are asked. The first that supports a call computes it, and if there is none, the
definition does. (`layers.explain` prints who did, and why not the others.)

The tests are those of the definition, of the kernels, and of the functions that users call. Some
are about every operator and not repeated: `tests/layers/test_contract.py` (compilers, exporters and
transforms), `tests/layers/test_strides.py`, `tests/layers/test_dtypes.py`,
`tests/layers/test_autocast.py`, `tests/layers/test_device.py`, `tests/kernels/test_threads.py`.

Written by `python -m analysis.operator_table > docs/operators.md`; a test keeps it true.
"""

OTHERS = """## Functions without an operator

Their forward is a few of torch's operations: there is nothing to choose.
"""


def document() -> str:
    operators = table(
        ("operator", "Function", "kept", "definition", "kernels", "tests"),
        map(operator_row, sorted(OPERATORS, key=_place)),
    )
    others = sorted({*all_functions()} - {*functions().values()}, key=lambda f: f.__name__)
    rest = table(("Function", "kept", "tests"), map(function_row, others))
    return "\n".join([HEADER, operators, "", OTHERS, rest, ""])


def _place(name: str) -> tuple[int, str]:
    """That of the table of kernels; operators that have none come last."""
    return [*TABLE, name].index(name), name


def operator_row(name: str) -> list[str]:
    definition, kernels = OPERATORS[name].definition, TABLE.get(name, ())
    function, called, kept = functions().get(name), "", ""
    if function:
        user, its_name = bound(function)
        called, kept = _named(its_name, user), _code(saved(function, name))
    elif function := functions().get(name.removesuffix("_backward")):
        user, its_name = bound(function)
        called = _named(f"{its_name}.backward", user)
    else:
        user, _ = bound(_registered(name))
    return [
        f"`{name}`",
        called,
        kept,
        _named(name, source_file(definition)),
        ", ".join(_named(kernel.name, source_file(kernel.compute)) for kernel in kernels),
        ", ".join(map(_link, tests(definition, [k.compute for k in kernels], user))),
    ]


def function_row(function: type[Function]) -> list[str]:
    file, name = bound(function)
    return [
        _named(name, file),
        _code(saved(function)),
        ", ".join(map(_link, functional_tests(file))),
    ]


def all_functions(kind: type[Function] = Function) -> Iterator[type[Function]]:
    """The autograd Functions of layers/: every class that says what its forward is."""
    for function in kind.__subclasses__():
        if "forward" in vars(function):
            yield function
        yield from all_functions(function)


@cache
def functions() -> dict[str, type[Function]]:
    """The Function whose forward is an operator, by the operator's name."""
    registered = {_registered(name): name for name in OPERATORS}
    found = ((registered.get(function.forward), function) for function in all_functions())
    return {name: function for name, function in found if name}


class Context:
    """The `ctx` of a Function that is not computed: it remembers what would be kept."""

    saved: tuple = ()

    def save_for_backward(self, *tensors: Tensor) -> None:
        self.saved = tensors

    def save_for_forward(self, *tensors: Tensor) -> None: ...

    def mark_non_differentiable(self, *tensors: Tensor) -> None: ...

    def set_materialize_grads(self, value: bool) -> None: ...


def saved(function: type[Function], operator: str = "") -> list[str]:
    """The names of the tensors that a Function keeps for its backward pass."""
    hints = get_type_hints(OPERATORS[operator].definition if operator else function.forward)
    count = len(getattr(hints.pop("return"), "__args__", (Tensor,)))
    taken = OPERATORS[operator].types if operator else hints
    inputs = {name: _value(kind) for name, kind in taken.items()}
    outputs = dict.fromkeys(["y"])
    if operator in TABLE:  # a kernel's last parameters are the outputs that it fills
        outputs = dict.fromkeys([*signature(TABLE[operator][0].compute).parameters][-count:])
    outputs = {name: _value(Tensor) for name in outputs}
    context, results = Context(), tuple(outputs.values())
    constants = (True,) if operator else ()  # whether kernels may compute it
    function.setup_context(
        context, (*inputs.values(), *constants), results if count > 1 else results[0]
    )
    names = {id(value): name for name, value in (inputs | outputs).items()}
    return [names[id(tensor)] for tensor in context.saved]


def _value(kind: Any) -> Any:
    """An argument that a Function's `setup_context` can take apart."""
    if kind is Tensor:
        return torch.empty(1, 1, 1, 1, device="meta")
    return {Geometry: Geometry((1, 1)).flatten(), Pair: (1, 1)}.get(kind)


def tests(definition: Callable, kernels: Iterable[Callable], user: str) -> Iterator[str]:
    """Files that test a definition, its kernels and the functions that users call."""
    yield f"tests/ops/test_{Path(source_file(definition)).stem}.py"
    stems = {Path(source_file(kernel)).stem for kernel in kernels}
    if stems:
        yield "tests/kernels/test_table.py"
    for file in sorted((ROOT / "tests/kernels").glob("test_*.py")):
        if any(file.stem.removeprefix("test_") in stem for stem in stems):
            yield str(file.relative_to(ROOT))
    yield from functional_tests(user)


def functional_tests(user: str) -> Iterator[str]:
    stem = Path(user).stem
    return (f"tests/layers/test_{name}.py" for name in TESTS.get(stem, [stem]))


def bound(thing: Any) -> tuple[str, str]:
    """The file of the upper storey, or of the side room that has a Function of its own, in which a
    Function or operator has a name, and the name."""
    prefix, side_room = f"{layers.__name__}.", f"{layers.__name__}.distributed."
    for path, module in [*sys.modules.items()]:
        is_upper = path.startswith(prefix) and path.count(".") == 1
        if is_upper or path.startswith(side_room):
            for name, value in vars(module).items():
                if value is thing:
                    return f"{path.replace('.', '/')}.py", name
    raise LookupError(f"no file of layers/ has a name for {thing}")


def _registered(operator: str) -> Any:
    return getattr(torch.ops.convnets, operator).default


def _named(name: str, file: str) -> str:
    """A name in code, linked to the file that defines it."""
    return f"[`{name}`](../{file})"


def _link(file: str) -> str:
    return f"[{file.removeprefix('tests/')}](../{file})"


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "nothing"


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    header = [*header]
    lines = [f"| {' | '.join(cells)} |".replace("  ", " ") for cells in (header, *rows)]
    lines.insert(1, "|---" * len(header) + "|")
    return "\n".join(lines)


if __name__ == "__main__":
    print(document(), end="")
