"""Both ways in which an operator may be computed."""

import pytest

from layers.kernels import jit
from layers.ops import registry


@pytest.fixture(params=["loops", "operations"])
def way(request, monkeypatch):
    """By compiled loops, as on a CPU, and by torch's operations, as elsewhere or without numba."""
    monkeypatch.setattr(registry, "_choices", {})  # made in the other way
    if request.param == "operations":
        monkeypatch.setattr(jit, "jit_unavailable", lambda: "by torch's operations")
    elif jit.jit_unavailable():
        pytest.skip("loops are not compiled")
