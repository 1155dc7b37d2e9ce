"""Parts of a kernel's work side by side: the same numbers, whoever computes them."""

import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import layers
import layers.functional as L
from analysis.baselines import LocalReference
from layers.kernels import openmp
from layers.kernels.jit import jit, numba, parallel_for
from layers.kernels.workspace import workspace
from tests.cases import LAYOUTS, ConvCase, assert_same_step, doubles, table

needs_openmp = pytest.mark.skipif(openmp._openmp is None, reason="no OpenMP library is loaded")


CPU = torch.empty(0)


@pytest.fixture(params=[2, 3])
def many(request, monkeypatch):
    """So many threads, for whatever size."""
    torch.set_num_threads(request.param)
    for name in (
        "kernels.conv_im2col.MIN_PARALLEL_MULTIPLICATIONS",
        "kernels.jit.MIN_PARALLEL_NUMEL",
    ):
        monkeypatch.setattr(f"layers.{name}", 0)
    return request.param


@pytest.fixture(params=["openmp", "none"])
def library(request, monkeypatch):
    """With an OpenMP library, and as on a machine that has none."""
    if request.param == "none":
        monkeypatch.setattr(openmp, "_openmp", None)
    elif openmp._openmp is None:
        pytest.skip("no OpenMP library is loaded")


CASES = [
    ConvCase("wide", (6, 24, 7, 8), 5, padding=(1, 1)),
    ConvCase("thin", (6, 2, 7, 8), 5, padding=(1, 1)),
    ConvCase("groups", (6, 4, 7, 8), 6, groups=2),
    ConvCase("uneven-parts", (5, 24, 7, 8), 5),
    ConvCase("an-image", (1, 3, 7, 8), 5),
    ConvCase("no-image", (0, 3, 7, 8), 5),
]


@pytest.mark.parametrize("algorithm", ["im2col", "winograd"])
@table(CASES)
def test_convolution(case, algorithm, many, library):
    x, weight = doubles(case.image, case.weight)
    ours = L.conv2d(x, weight, algorithm=algorithm, **case.options)
    theirs = F.conv2d(x, weight, **case.options)
    assert_same_step(ours, theirs, (x, weight), torch.randn_like(theirs))


def test_filters_by_thread(many, library, monkeypatch):
    for name in ("MIN_DIVIDED_WEIGHTS", "WEIGHTS_AT_A_TIME"):
        monkeypatch.setattr(f"layers.kernels.conv_winograd_plan.{name}", 1)
    x, weight = doubles((2, 4, 7, 9), (80, 2, 3, 3))
    options = {"padding": 1, "groups": 2}
    ours = L.conv2d(x, weight, algorithm="winograd", **options)
    theirs = F.conv2d(x, weight, **options)
    assert_same_step(ours, theirs, (x, weight), torch.randn_like(theirs))


@pytest.mark.parametrize("size", [(24, 40, 5, 2), (24, 5, 1, 1)], ids=["strided", "pointwise"])
def test_other_layouts(size, many, library):
    channels, filters, kernel, stride = size
    x, weight = doubles((6, channels, 13, 12), (filters, channels, kernel, kernel))
    ours, theirs = (f(x, weight, stride=stride) for f in (L.conv2d, F.conv2d))
    assert_same_step(ours, theirs, (x, weight), torch.randn_like(theirs))


def test_local_connection(many, library, monkeypatch):
    monkeypatch.setattr("layers.kernels.workspace.CPU_WORKSPACE", 1)
    layer = layers.LocallyConnected2d(4, 6, (5, 7), 3, groups=2, padding=1).double()
    (x,) = doubles((3, 4, 5, 7))
    inputs = (x, layer.weight, layer.bias)
    theirs = LocalReference(layer)(x)
    assert_same_step(layer(x), theirs, inputs, torch.randn_like(theirs))


@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("max_pool2d", (3, 2)),
        ("lp_pool2d", (2, 3, 2)),
        ("batch_norm", (None, None, None, None, True)),
        ("local_response_norm", (5,)),
    ],
)
def test_loops(name, options, layout, many, library):
    (x,) = doubles((5, 30, 9, 9))
    ours, theirs = (getattr(f, name)(layout(x), *options) for f in (L, F))
    assert_same_step(ours, theirs, (x,), torch.randn_like(theirs))


@jit
def count(seen, step, parts, first, last):
    for i in range(first, last):
        seen[i] += step
    parts[first] = last


@pytest.mark.parametrize("total", [0, 1, 2, 3, 7, 100])
def test_the_parts_of_a_loop_are_all_and_none_twice(total, many, library):
    seen, parts = np.zeros(total, np.float32), np.zeros(total + 1, np.int64)
    parallel_for(count, total, 1, seen, 0.5, parts)
    assert (seen == 0.5).all()
    if numba is not None and openmp.openmp_available() and total >= many:
        assert (parts > 0).sum() == many


def fail(first, last):
    if last == 9:
        raise KeyError


@pytest.mark.skipif(numba is None, reason="loops are not compiled")
def test_a_loop_that_fails_is_an_error(many, library):
    with pytest.raises(RuntimeError if openmp.openmp_available() else KeyError):
        parallel_for(jit(fail), 9, 1)


@needs_openmp
def test_parts_have_a_thread_each_and_torch_none_beside_it(many):
    def look(part):
        return part, openmp.num_threads(), torch.is_grad_enabled(), threading.get_ident()

    parts, counts, grads, idents = zip(*openmp.parallel_map(look, range(many), CPU), strict=True)
    assert parts == (*range(many),)
    assert counts == (1,) * many
    assert not any(grads)
    assert len({*idents}) == many
    assert openmp.num_threads() == many
    assert torch.is_grad_enabled()


def test_more_parts_than_threads(many, library):
    assert openmp.parallel_map(lambda part: part**2, range(8), CPU) == [i**2 for i in range(8)]


def test_parts_within_a_part(many, library):
    def inner(part):
        return openmp.parallel_map(lambda number: (part, number), range(2), CPU)

    assert openmp.parallel_map(inner, range(2), CPU) == [[(i, 0), (i, 1)] for i in range(2)]


@needs_openmp
def test_every_thread_keeps_memory_of_its_own(many):
    barrier = threading.Barrier(many, timeout=60)

    def memory(_):
        barrier.wait()  # otherwise one thread might be done before the next begins
        return workspace(torch.empty(0), 10).data_ptr()

    first, second = (openmp.parallel_map(memory, range(many), CPU) for _ in range(2))
    assert len({*first}) == many
    assert first == second


@pytest.mark.parametrize("mistaken", [0, 1])
def test_an_exception_is_raised(mistaken, many, library):
    def fail(part):
        if part == mistaken:
            raise KeyError(part)

    with pytest.raises(KeyError, match=str(mistaken)):
        openmp.parallel_map(fail, range(2), CPU)


def test_inference_mode(many, library):
    layer, x = layers.Conv2d(24, 5, 3), torch.randn(6, 24, 7, 7)
    with torch.inference_mode():
        y = layer(x)
    assert y.is_inference()
    assert_close(y, layer(x))


@needs_openmp
@pytest.mark.parametrize("images", [0, 1, 4, 5, 6, 7, 12, 100])
def test_shares_are_equal_or_there_is_only_one(images, many):
    parts = openmp.partition(torch.empty(images, 3))
    assert [i for part in parts for i in range(images)[part]] == [*range(images)]
    sizes = [part.stop - part.start for part in parts]
    assert len(parts) == 1 or (len(parts) == many and max(sizes) * many <= images / 0.8)
    assert len(parts) == many or images == 0 or images % many
