"""Work on torch's own threads: its parts, the library that is called, what is done without one."""

import os
import threading
import warnings
from ctypes import CDLL
from pathlib import Path

import pytest
import torch

from layers.kernels import fallback, openmp
from layers.kernels.workspace import workspace

from .process import run

CPU = torch.empty(0)
needs_openmp = pytest.mark.skipif(not openmp.openmp_available(), reason="no OpenMP is loaded")


def other_library() -> str:
    """Another OpenMP library, which scikit-learn brings."""
    packages = Path(torch.__file__).parents[1]
    found = sorted(packages.glob("scikit_learn.libs/libgomp*"))
    return str(found[0]) if found else pytest.skip("scikit-learn brings no OpenMP library")


@pytest.fixture
def afresh(monkeypatch):
    """The library is looked for again, and what is missing is said again."""
    monkeypatch.setattr(fallback, "_warned", set())
    openmp._find.cache_clear()
    yield
    openmp._find.cache_clear()


@needs_openmp
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_library_is_torchs(count):
    torch.set_num_threads(count)
    assert openmp.library().omp_get_max_threads() == count


@needs_openmp
def test_looking_for_it_changes_nothing(afresh):
    torch.set_num_threads(3)
    assert openmp.openmp_available()
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("which", ["none", "another", "another-that-follows"])
def test_no_other_library_is_called_and_one_warning_says_so(which, afresh, monkeypatch):
    candidates = [] if which == "none" else [CDLL(other_library())]
    if which == "another-that-follows":  # its number of threads does, but it is not torch's

        class Mixed:
            def __getattr__(self, name):
                theirs = name == "GOMP_parallel"
                return getattr(candidates[0] if theirs else torchs, name)

        torchs, candidates = openmp.library(), [candidates[0], Mixed()]
        openmp._find.cache_clear()
    monkeypatch.setattr(openmp, "_candidates", lambda: iter(candidates))
    torch.set_num_threads(2)
    with pytest.warns(UserWarning, match=r"OpenMP .* runs on one thread"):
        assert openmp.partition(torch.empty(8, 3)) == [slice(0, 8)]
    assert openmp.parallel_map(lambda part: part + 1, [1, 2], CPU) == [2, 3]  # no other warning


@pytest.mark.parametrize("order", ["before", "after"])
def test_beside_another_library(order):
    load = f"import ctypes; ctypes.CDLL({other_library()!r}, mode=ctypes.RTLD_GLOBAL)"
    first, second = (load, "import torch") if order == "before" else ("import torch", load)
    run(f"""
{first}
{second}
import layers
from layers.kernels import jit, openmp
for count in 1, 2, 3:
    torch.set_num_threads(count)
    assert openmp.library().omp_get_max_threads() == count
assert len(set(openmp.parallel_map(lambda part: __import__("threading").get_ident(), range(3),
                                   torch.empty(0)))) == 3
assert jit.jit_unavailable() or jit._is_bound()
""")


@needs_openmp
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_the_child_of_a_fork_computes_on_one_thread():
    """An OpenMP library has no threads there, and would wait for them."""
    printed = run("""
import os, signal, warnings
import torch, layers.functional as L
from layers.kernels import openmp
torch.set_num_threads(2)
x = torch.randn(8, 64, 32, 32)
y = L.local_response_norm(x, 5)
openmp.parallel_map(lambda part: part, range(2), x)
for threads in 2, 1:  # 1 as in a worker of a DataLoader: there nobody need be warned
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # an end, if it waits
        torch.set_num_threads(threads)
        with warnings.catch_warnings(record=True) as caught:
            assert (L.local_response_norm(x, 5).numpy() == y.numpy()).all()
            assert openmp.parallel_map(lambda part: part, range(2), x) == [0, 1]
        print(*[str(each.message)[:44] for each in caught], sep="\\n")
        print("no more", flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
""")
    warning = "torch's OpenMP threads do not survive a fork"
    assert printed.split("\n") == [warning, "no more", "", "no more", ""]


@needs_openmp
def test_parts_have_a_thread_each_and_torch_none_beside_it(threads):
    def look(part):
        return part, openmp.num_threads(), torch.is_grad_enabled(), threading.get_ident()

    parts, counts, grads, idents = zip(*openmp.parallel_map(look, range(threads), CPU), strict=True)
    assert parts == (*range(threads),)
    assert counts == (1,) * threads
    assert not any(grads)
    assert len({*idents}) == threads
    assert openmp.num_threads() == threads
    assert torch.is_grad_enabled()


def test_more_parts_than_threads(threads, library):
    assert openmp.parallel_map(lambda part: part**2, range(8), CPU) == [i**2 for i in range(8)]


def test_parts_within_a_part(threads, library):
    def inner(part):
        return openmp.parallel_map(lambda number: (part, number), range(2), CPU)

    assert openmp.parallel_map(inner, range(2), CPU) == [[(i, 0), (i, 1)] for i in range(2)]


@needs_openmp
def test_every_thread_keeps_memory_of_its_own(threads):
    barrier = threading.Barrier(threads, timeout=60)

    def memory(_):
        barrier.wait()  # otherwise one thread might be done before the next begins
        return workspace(torch.empty(0), 10).data_ptr()

    first, second = (openmp.parallel_map(memory, range(threads), CPU) for _ in range(2))
    assert len({*first}) == threads
    assert first == second


@pytest.mark.parametrize("mistaken", [0, 1])
def test_an_exception_is_raised(mistaken, threads, library):
    def fail(part):
        if part == mistaken:
            raise KeyError(part)

    with pytest.raises(KeyError, match=str(mistaken)):
        openmp.parallel_map(fail, range(2), CPU)


@needs_openmp
@pytest.mark.parametrize("images", [0, 1, 4, 5, 6, 7, 12, 100])
def test_parts_are_equal_or_there_is_only_one(images, threads):
    parts = openmp.partition(torch.empty(images, 3))
    assert [i for part in parts for i in range(images)[part]] == [*range(images)]
    sizes = [part.stop - part.start for part in parts]
    assert len(parts) == 1 or (len(parts) == threads and max(sizes) * threads <= images / 0.8)
    assert len(parts) == threads or images == 0 or images % threads


def test_a_device_without_threads_asks_for_none(afresh, monkeypatch):
    monkeypatch.setattr(openmp, "_candidates", lambda: iter(()))
    torch.set_num_threads(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert openmp.partition(torch.empty(8, 3, device="meta")) == [slice(0, 8)]
