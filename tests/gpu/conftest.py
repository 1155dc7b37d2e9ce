"""What a GPU computes.  The same bodies run on a CPU, so that the tests are tested, too."""

import pytest
import torch

from analysis.gpu.precision import float32_products


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    return request.param


@pytest.fixture(autouse=True)
def float32_products_are_exact():
    """Convolutions' default on a GPU is tf32."""
    with float32_products("ieee"):
        yield


@pytest.fixture
def memory_of_nan(device):
    """Memory that nobody has written to is full of NaN."""
    if device == "cuda":
        # What the caching allocator gets back, it gives out again; small things in small blocks.
        torch.cuda.empty_cache()
        blocks = [torch.full((64 << 20,), torch.nan, device="cuda")]
        blocks += [torch.full((1 << 17,), torch.nan, device="cuda") for _ in range(64)]
        del blocks
        yield
    else:
        torch.use_deterministic_algorithms(True, warn_only=True)
        yield
        torch.use_deterministic_algorithms(False)
