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


def pytest_collection_modifyitems(config, items):
    skipped = {}
    if not torch.cuda.is_available():
        skipped["gpu"] = "needs a CUDA device"
    if "slow" not in config.getoption("-m"):
        skipped["slow"] = "takes minutes: make test-slow"
    for item in items:
        for marker in skipped.keys() & {mark.name for mark in item.iter_markers()}:
            item.add_marker(pytest.mark.skip(reason=skipped[marker]))
