"""Work divided among threads, with and without a library for it."""

import pytest
import torch

from layers.kernels import openmp


@pytest.fixture(params=[2, 3])
def threads(request, monkeypatch):
    """So many, however small the work is."""
    torch.set_num_threads(request.param)
    monkeypatch.setattr("layers.kernels.jit.MIN_PARALLEL_NUMEL", 0)
    monkeypatch.setattr("layers.kernels.conv_im2col.MIN_PARALLEL_MULTIPLICATIONS", 0)
    return request.param


@pytest.fixture(params=["openmp", "no-openmp"])
def library(request, monkeypatch):
    """torch's OpenMP library, or None as on a machine that has none."""
    if request.param == "no-openmp":
        monkeypatch.setattr(openmp, "library", lambda: None)
    elif not openmp.openmp_available():
        pytest.skip("no OpenMP library is loaded")
    return openmp.library()
