"""Kernels for a GPU, tested without one: in Triton's interpreter, and by what they compile to.

The interpreter takes the place of the compiler when Triton is imported, so the two kinds of tests
need a process each: `make test` runs these twice, the second time with TRITON_INTERPRET=1.
"""

import os

import numpy as np
import pytest

from layers.kernels.triton import runtime
from layers.ops import registry

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def pytest_collection_modifyitems(items):
    for item in items:
        if reason := why_not(item):
            item.add_marker(pytest.mark.skip(reason=reason))


def why_not(item):
    interpreted = item.get_closest_marker("interpreted")
    if interpreted is None and not item.get_closest_marker("compiled"):
        return None
    if runtime.triton is None:
        return "Triton is not installed"
    if interpreted and not INTERPRETED:
        return "needs TRITON_INTERPRET=1, which make test sets"
    if not interpreted and INTERPRETED:
        return "compiles kernels, which TRITON_INTERPRET=1 interprets"
    version, numpy = (
        tuple(map(int, v.split(".")[:2])) for v in (runtime.triton.__version__, np.__version__)
    )
    if interpreted and version < (3, 7) and numpy >= (2, 4):
        return "the interpreter of this Triton raises with numpy 2.4 and later"
    return None


def version(package):
    return tuple(int(number) for number in package.__version__.split(".")[:2])


@pytest.fixture
def as_on_gpu(monkeypatch):
    """Triton's kernels take the tensors of a CPU, as the interpreter does."""
    monkeypatch.setattr(runtime, "is_gpu", lambda tensor: True)
    monkeypatch.setattr(runtime, "unavailable", lambda device: None)
    registry._choices.clear()
    yield
    registry._choices.clear()
