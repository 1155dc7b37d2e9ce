"""Compiled loops: on all threads, on disk, and what is done where there are none."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from layers.kernels import fallback, jit, openmp
from layers.kernels.jit import parallel_for

from .process import ROOT, run

needs_jit = pytest.mark.skipif(jit.jit_unavailable() is not None, reason="loops are not compiled")


@jit.jit
def count(seen, step, parts, first, last):
    for i in range(first, last):
        seen[i] += step
    parts[first] = last


@pytest.mark.parametrize("total", [0, 1, 2, 3, 7, 100])
def test_the_parts_of_a_loop_are_all_and_none_twice(total, threads, library):
    seen, parts = np.zeros(total, np.float32), np.zeros(total + 1, np.int64)
    parallel_for(count, total, 1, seen, 0.5, parts)
    assert (seen == 0.5).all()
    if jit.numba is not None and library is not None and total >= threads:
        assert (parts > 0).sum() == threads


def fail(first, last):
    if last == 9:
        raise KeyError


@needs_jit
def test_a_loop_that_fails_is_an_error(threads, library):
    with pytest.raises(KeyError if library is None else RuntimeError):
        parallel_for(jit.jit(fail), 9, 1)


@needs_jit
@pytest.mark.skipif(not openmp.openmp_available(), reason="no OpenMP is loaded")
@pytest.mark.parametrize("mistake", ["another", "broken"])
def test_compiled_code_calls_no_other_library(mistake, threads, monkeypatch):
    parallel = pytest.importorskip("layers.kernels.parallel")
    addresses = parallel.bind(openmp.library())
    assert [*jit.jit(parallel.addresses)()] == addresses

    def bind(library):
        return [*addresses[:2], 0] if mistake == "another" else 1 / 0

    monkeypatch.setattr(fallback, "_warned", set())
    monkeypatch.setattr(parallel, "bind", bind)
    jit._is_bound.cache_clear()
    seen, parts = np.zeros(9, np.float32), np.zeros(10, np.int64)
    with pytest.warns(UserWarning, match="each of them runs on one thread: install 'numba"):
        parallel_for(count, 9, 1, seen, 0.5, parts)
    parallel_for(count, 9, 1, seen, 0.5, parts)  # no other warning
    jit._is_bound.cache_clear()
    assert (parts > 0).sum() == 1
    assert (seen == 1).all()


def test_versions_of_numba_are_those_of_the_requirements():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert f"install '{next(line for line in lines if line.startswith('numba'))}'" == jit.INSTALL


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (None, "numba cannot be imported (import of numba halted"),
        (SimpleNamespace(), "numba cannot be imported ('types.SimpleNamespace' object has no"),
        (SimpleNamespace(__version__="0.1.0"), "numba 0.1.0 is not supported"),
        (SimpleNamespace(__version__="9.0.0rc1"), "numba 9.0.0rc1 is not supported"),
    ],
    ids=["missing", "not-numba", "older", "newer"],
)
def test_numba_must_be_one_that_is_supported(module, said, monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", module)
    numba, problem = jit._import_numba()
    assert numba is None
    assert problem.startswith(said)
    assert problem.endswith(jit.INSTALL)


@needs_jit
def test_numba_must_be_allowed_to_compile(monkeypatch):
    monkeypatch.setattr(jit.numba.config, "DISABLE_JIT", 1)
    assert jit._import_numba() == (None, "numba is told not to compile: unset NUMBA_DISABLE_JIT")


# Everything that has loops of its own, forward and backward, as torch computes it.
USE = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import torch
    import torch.nn.functional as F
    import layers.functional as L
    torch.set_num_threads(2)
    print(len(caught), "warnings at import")
    for name, options in (
        ("conv2d", dict(weight=torch.randn(32, 32, 3, 3), padding=1)),
        ("max_pool2d", dict(kernel_size=3, stride=2)),
        ("lp_pool2d", dict(norm_type=2, kernel_size=3, stride=2)),
        ("local_response_norm", dict(size=5)),
        ("batch_norm", dict(running_mean=None, running_var=None, training=True)),
        ("relu", {}),
    ):
        x = torch.randn(4, 32, 15, 15, requires_grad=True)
        ours, theirs = (getattr(each, name)(x, **options) for each in (L, F))
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
        gradients = [torch.autograd.grad(y.sum(), x)[0] for y in (ours, theirs)]
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)
for each in caught:
    print(each.message)
"""

COMPILES_NOTHING = """
import numba.core.dispatcher
def compile(*_):
    raise ValueError("no such processor")
numba.core.dispatcher.Dispatcher.compile = compile
"""


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("import sys; sys.modules['numba'] = None", "numba cannot be imported (import of"),
        pytest.param(
            COMPILES_NOTHING,
            "numba cannot compile here (ValueError: no such processor): install",
            marks=needs_jit,
        ),
    ],
    ids=["missing", "compiles-nothing"],
)
def test_without_loops_torch_computes_and_one_warning_says_so(before, said):
    at_import, warning = run(before + USE).splitlines()
    assert at_import == "0 warnings at import"
    assert warning.startswith(said)


@needs_jit
def test_with_loops_there_is_no_warning():
    assert run(USE) == "0 warnings at import\n"


# `write` calls `copy`, which stands in another file.
WRITE = """
import warnings
warnings.simplefilter("always")
warnings.showwarning = lambda message, *_: print(message)
import numpy as np
from package.kernels.conv_winograd_loops import LANES, write
image = np.zeros((1, 1, 3))
write(np.arange(16.0 * LANES), image, 0, 0, 0, 3)
print(*image.ravel())
"""


@pytest.fixture
def copy(tmp_path):
    """A folder with layers/kernels/ and interop/ alone, nothing compiled yet."""
    ignore = shutil.ignore_patterns("__pycache__")
    for room in ("kernels", "interop"):
        shutil.copytree(ROOT / "layers" / room, tmp_path / "package" / room, ignore=ignore)
        (tmp_path / "package" / room / "__init__.py").write_text("")
    return tmp_path


def compiled(folder: Path) -> set[Path]:
    return {*folder.rglob("loops-*/*.nbc")}


@needs_jit
def test_a_loop_is_compiled_again_when_one_that_it_calls_changes(copy):
    assert run(WRITE, copy) == "0.0 1.0 2.0\n"
    before = compiled(copy)
    assert before
    times = {file: file.stat().st_mtime_ns for file in before}
    assert run(WRITE, copy) == "0.0 1.0 2.0\n"
    assert {file: file.stat().st_mtime_ns for file in compiled(copy)} == times

    shared = copy / "package" / "kernels" / "loops.py"
    source = shared.read_text()
    assert " = values[first + c]\n" in source
    shared.write_text(source.replace(" = values[first + c]\n", " = values[first + c] + 1\n"))
    assert run(WRITE, copy) == "1.0 2.0 3.0\n"
    assert compiled(copy).isdisjoint(before)
    assert len({file.parent for file in compiled(copy)}) == 1  # what was before is removed


@needs_jit
def test_what_was_not_written_to_its_end_is_compiled_again(copy):
    run(WRITE, copy)
    for file in copy.rglob("loops-*/*"):
        file.write_bytes(file.read_bytes()[:50])
    assert run(WRITE, copy) == "0.0 1.0 2.0\n"
    assert compiled(copy)
    assert all(file.stat().st_size > 50 for file in compiled(copy))


@needs_jit
def test_where_nothing_can_be_written(copy):
    """First beside the sources, then in the user's cache either."""
    (copy / "package" / "kernels" / "__pycache__").write_text("a file, where a folder should be")
    user = copy / "user"
    user.mkdir()
    assert run(WRITE, copy, XDG_CACHE_HOME=str(user)) == "0.0 1.0 2.0\n"
    assert compiled(user)

    shutil.rmtree(user)
    user.write_text("another file")
    warning, values = run(WRITE, copy, XDG_CACHE_HOME=str(user)).splitlines()
    assert "set NUMBA_CACHE_DIR to a folder that can be written to" in warning
    assert values == "0.0 1.0 2.0"
