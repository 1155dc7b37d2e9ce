"""The normalising kernels where the shared tables do not go: many images, parts that are merged,
numbers far from zero, tensors of other dimensions, and gradients in another layout than x.
"""

import pytest
import torch
from torch.testing import assert_close

from layers.kernels.triton import batch_norm, local_response_norm
from layers.ops.registry import OPERATORS
from tests.cases import channels_last, contiguous, expanded, strided
from tests.kernels.checks import in_double, spoil

pytestmark = pytest.mark.interpreted

KERNELS = {
    "batch_norm": batch_norm.BATCH_NORM,
    "batch_norm_backward": batch_norm.BATCH_NORM_BACKWARD,
    "local_response_norm": local_response_norm.LOCAL_RESPONSE_NORM,
    "local_response_norm_backward": local_response_norm.LOCAL_RESPONSE_NORM_BACKWARD,
}
RESPONSE_NORM = 5, 0.5, 0.75, 2.0  # size, alpha, beta, k


class Call:
    """An operator's inputs, as `in_double` takes a recorded call."""

    def __init__(self, operator, *inputs):
        self.operator, self.inputs = operator, inputs

    def check(self, tolerance=3e-6):
        """By the kernel, against the definition in float64."""
        kernel = KERNELS[self.operator]
        assert kernel.supports(*self.inputs) is None
        outputs = OPERATORS[self.operator].empty(*self.inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        for output in outputs:
            spoil(output)
        kernel.compute(*self.inputs, *outputs)
        for ours, exact in zip(outputs, in_double(self), strict=True):
            atol = tolerance * max(1e-3, exact.abs().max().item())
            assert_close(ours.double(), exact, rtol=0, atol=atol)
        return outputs


def images(*shape, layout=contiguous, seed=0):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return layout(x) if len(shape) == 4 else x


def batch_norm_calls(x, dy):
    gamma, beta = (images(x.shape[1], seed=seed) for seed in (2, 3))
    last = layout_is_last(x)
    variance, mean = torch.var_mean(x, [0, *range(2, x.dim())], correction=0)
    return (
        Call("batch_norm", x, gamma, beta, 1e-5, last),
        Call("batch_norm_backward", dy, x, gamma, mean, variance, 1e-5, last),
    )


def layout_is_last(x):
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)


SHAPES = [(5, 1, 5, 5), (2, 70, 5, 5), (2, 2048, 1, 2), (33, 5), (4, 3, 11), (2, 3, 3, 4, 5)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("layout", [contiguous, channels_last])
def test_shapes(shape, layout, as_on_gpu):
    x, dy = (images(*shape, layout=layout, seed=seed) for seed in (0, 1))
    for call in batch_norm_calls(x, dy):
        call.check()
    if shape[1] < 100:
        Call("local_response_norm", x, *RESPONSE_NORM).check()
        Call("local_response_norm_backward", dy, x, *RESPONSE_NORM).check()


@pytest.mark.parametrize("of_dy", [contiguous, channels_last, strided, expanded])
@pytest.mark.parametrize("of_x", [contiguous, channels_last, strided])
def test_gradients_in_another_layout(of_x, of_dy, as_on_gpu):
    x, dy = images(3, 6, 10, 10, layout=of_x), images(3, 6, 10, 10, layout=of_dy, seed=1)
    for call in batch_norm_calls(x, dy):
        call.check()
    Call("local_response_norm_backward", dy, x, *RESPONSE_NORM).check()


@pytest.mark.parametrize("layout", [contiguous, channels_last])
@pytest.mark.parametrize("size", [(7, 3, 17, 17), (12, 3, 7, 7)], ids=str)
def test_parts_are_merged(size, layout, as_on_gpu, monkeypatch):
    monkeypatch.setitem(batch_norm.PARTS, "blocks", 1)
    x, dy = images(*size, layout=layout), images(*size, layout=layout, seed=1)
    for call in batch_norm_calls(x, dy):
        call.check()


@pytest.mark.parametrize("layout", [contiguous, channels_last])
@pytest.mark.parametrize(
    ("dtype", "centre", "tolerance"),
    [(torch.float32, 1e4, 1e-3), (torch.float16, 300, 2e-3), (torch.bfloat16, 30, 1e-2)],
    ids=str,
)
def test_numbers_far_from_zero(layout, dtype, centre, tolerance, as_on_gpu, monkeypatch):
    """Of the squares of 1e4 + x float32 would leave nothing of a variance of 1."""
    monkeypatch.setitem(batch_norm.PARTS, "blocks", 1)
    x = layout((centre + images(50, 3, 10, 10)).to(dtype))
    exact = torch.var_mean(x.double(), (0, 2, 3), correction=0)
    _, mean, variance = batch_norm_calls(x, x)[0].check(tolerance)
    assert_close(mean.double(), exact[1], rtol=1e-7, atol=0)
    assert_close(variance.double(), exact[0], rtol=2e-5, atol=0)


@pytest.mark.parametrize("layout", [contiguous, channels_last])
def test_a_first_block_unlike_the_others(layout, as_on_gpu):
    x = images(24, 2, 16, 16)
    x[0] += 1e4
    x = layout(x)
    variance = x.double().var((0, 2, 3), correction=0)
    _, _, v = batch_norm_calls(x, x)[0].check(1e-4)
    assert_close(v.double(), variance, rtol=1e-5, atol=0)


def test_a_constant_channel(as_on_gpu):
    x = torch.full((4, 2, 9, 9), 0.1)
    _, mean, variance = batch_norm_calls(x, x)[0].check()
    assert_close(mean, torch.full((2,), 0.1), rtol=1e-7, atol=0)
    assert (variance < 1e-14).all()


@pytest.mark.parametrize("layout", [contiguous, channels_last])
def test_nan_stays_in_its_channel(layout, as_on_gpu):
    x = images(4, 3, 5, 5, layout=layout)
    x[1, 1, 2, 2] = torch.nan
    inputs = batch_norm_calls(x, x)[0].inputs
    outputs = OPERATORS["batch_norm"].empty(*inputs)
    KERNELS["batch_norm"].compute(*inputs, *outputs)
    y, mean, variance = (output.isnan() for output in outputs)
    assert y[:, 1].all()
    assert mean.tolist() == variance.tolist() == [False, True, False]
    assert not y[:, ::2].any()


@pytest.mark.parametrize("order", [(0, 2, 1, 3), (1, 2, 3, 0)])
def test_response_norm_keeps_strange_strides(order, as_on_gpu):
    x, dy = (images(3, 4, 5, 6, seed=seed).permute(order) for seed in (0, 1))
    (y,) = Call("local_response_norm", x, *RESPONSE_NORM).check()
    assert y.stride() == x.stride()
    Call("local_response_norm_backward", dy, x, *RESPONSE_NORM).check()


@pytest.mark.parametrize(("size", "beta"), [(1, 1.0), (2, 0.75), (7, 0.3), (9, 0.75)])
def test_windows(size, beta, as_on_gpu):
    x, dy = (images(2, 40, 3, 3, seed=seed) for seed in (0, 1))
    Call("local_response_norm", x, size, 0.5, beta, 2.0).check()
    Call("local_response_norm_backward", dy, x, size, 0.5, beta, 2.0).check()


def test_what_is_not_supported(as_on_gpu):
    x = images(2, 3, 4, 4)
    refuse = KERNELS["local_response_norm"].supports
    assert "9 channels" in refuse(x, 10, 0.5, 0.75, 2.0)
    assert "float64" in refuse(x.double(), *RESPONSE_NORM)
    gamma = torch.ones(3)
    reason = KERNELS["batch_norm"].supports(x[:0], gamma, gamma, 1e-5, False)
    assert reason == "there is nothing to normalise"
