"""One seed, one thread, the same everywhere."""

import random
import warnings
from contextlib import suppress

import numpy as np
import pytest
import torch

with warnings.catch_warnings(), suppress(ImportError):  # layers/kernels/ may be missing
    warnings.simplefilter("ignore")  # what is missing is said here, and in no test
    from layers.kernels import jit, openmp

    jit.jit_unavailable()
    openmp.openmp_available()


@pytest.fixture(autouse=True)
def same_numbers_every_time():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


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


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)
