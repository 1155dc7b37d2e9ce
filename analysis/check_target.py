"""What `compare.py check` checks: a reader's layer and its twin, from the command line."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

Constructor = Callable[..., torch.nn.Module]
MAX_LINE_LENGTH = 100  # characters of an exception that are shown


class InvalidCheck(Exception):
    """The command line does not describe a check; the message says how to correct it."""


@dataclass(frozen=True)
class Arguments:
    """Arguments of a constructor, as given on the command line."""

    positional: tuple[Any, ...] = ()
    named: dict[str, Any] | None = None

    @classmethod
    def parse(cls, text: str) -> Arguments:
        """Parse the arguments of a call, such as "3, 16, 3, padding=1".

        Raises:
            InvalidCheck: not the arguments of a call, or not literals.
        """
        try:
            call = ast.parse(f"f({text})", mode="eval").body
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
                raise ValueError
            named = {word.arg or "**": ast.literal_eval(word.value) for word in call.keywords}
            return cls(tuple(ast.literal_eval(value) for value in call.args), named)
        except (SyntaxError, ValueError):
            raise InvalidCheck(
                f'--args {text!r} cannot be read: write plain values as in a call, "3, 16, 3, '
                'padding=1"'
            ) from None

    def replaced(self, changes: dict[str, Any], twin: Constructor) -> Arguments:
        """A copy with some values changed; positional arguments, in the twin's order, stay so."""
        order = list(inspect.signature(twin).parameters)
        positional, named = list(self.positional), dict(self.named or {})
        for name, value in changes.items():
            if name in order[: len(positional)]:
                positional[order.index(name)] = value
            else:
                named[name] = value
        return Arguments(tuple(positional), named)

    def build(self, constructor: Constructor) -> torch.nn.Module:
        torch.manual_seed(0)
        return constructor(*self.positional, **(self.named or {}))

    def __str__(self) -> str:
        named = (f"{name}={value!r}" for name, value in (self.named or {}).items())
        return ", ".join((*map(repr, self.positional), *named))


def parse_shape(text: str) -> tuple[int, ...]:
    """The shape in "8,3,32,32".

    Raises:
        InvalidCheck: not positive integers, or fewer than two of them.
    """
    try:
        shape = tuple(int(size) for size in text.split(","))
    except ValueError:
        shape = ()
    if len(shape) < 2 or min(shape) < 1:
        raise InvalidCheck(f"--shape must be whole numbers such as 8,3,32,32, got {text!r}")
    return shape


def load(name: str) -> Constructor:
    """Import the class named by my_module:MyLayer or path/to/file.py:MyLayer.

    Raises:
        InvalidCheck: no such module, or no such class in it.
    """
    source, colon, attribute = name.rpartition(":")
    if not colon or not attribute:
        raise InvalidCheck(
            f"{name!r} names no layer: write my_module:MyLayer or my_file.py:MyLayer"
        )
    module = _import(source)
    found = getattr(module, attribute, None)
    if not callable(found):
        candidates = [
            key for key, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, torch.nn.Module)
        ]  # fmt: skip
        raise InvalidCheck(
            f"{source} has no layer {attribute!r}: "
            f"it has {', '.join(candidates) or 'no subclass of torch.nn.Module'}"
        )
    return found


def _import(source: str) -> ModuleType:
    """Import a .py file by its path, or a module by its name, also from the current folder."""
    path = Path(source)
    by_path = path.suffix == ".py"
    if by_path and not path.is_file():
        raise InvalidCheck(f"there is no file {source}")
    folder = str(path.resolve().parent if by_path else Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)  # so that the module can import its siblings
    try:
        if not by_path:
            return importlib.import_module(source)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
        return module
    except Exception as error:
        raise InvalidCheck(f"importing {source} failed with {first_line(error)}") from error


def twin_of(layer: Constructor, against: str) -> Constructor:
    """The class named by --against, else the torch.nn layer that the class extends or is named for.

    Raises:
        InvalidCheck: there is none.
    """
    if against:
        module, _, name = against.rpartition(".")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError):
            raise InvalidCheck(
                f"there is no {against!r} to compare with: name a layer such as torch.nn.Conv2d"
            ) from None
    for base in inspect.getmro(layer) if isinstance(layer, type) else ():
        twin = getattr(torch.nn, base.__name__, None)
        if twin is not None and twin is not torch.nn.Module:
            return twin
    raise InvalidCheck(
        "nothing to compare with: say which layer it should equal, --against torch.nn.Conv2d"
    )


def first_line(error: Exception) -> str:
    """The type and the first line of an exception's message, truncated."""
    line = f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"
    return line if len(line) <= MAX_LINE_LENGTH else f"{line[: MAX_LINE_LENGTH - 3]}..."
