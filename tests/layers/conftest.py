"""Both ways in which an operator may be computed."""

import pytest

from layers.kernels import jit as loops


@pytest.fixture(params=["loops", "operations"])
def way(request, monkeypatch):
    """By compiled loops, as on a CPU, and by torch's operations, as elsewhere or without numba."""
    if request.param == "operations":
        monkeypatch.setattr(loops, "numba", None)
    elif loops.numba is None:
        pytest.skip("numba is not installed")
