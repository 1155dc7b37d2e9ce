"""Float32 convolutions on a GPU follow torch's flag for convolutions, not that for products."""

import threading

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from layers.interop.precision import conv_precision, in_conv_precision
from layers.ops.registry import OPERATORS, TABLE, Kernel, choose
from tests.cases import fake_cuda

X = torch.zeros(1)
CONV, MATMUL = torch.backends.cudnn.conv, torch.backends.cuda.matmul


@pytest.fixture(autouse=True)
def _flags_as_before():
    before = CONV.fp32_precision, MATMUL.fp32_precision
    yield
    CONV.fp32_precision, MATMUL.fp32_precision = before


@pytest.mark.parametrize("matmul", ["ieee", "tf32"])
@pytest.mark.parametrize("conv", ["ieee", "tf32"])
def test_products_of_a_kernel_have_the_precision_of_convolutions(conv, matmul):
    CONV.fp32_precision, MATMUL.fp32_precision = conv, matmul
    assert in_conv_precision(lambda x, y: (y, MATMUL.fp32_precision))(X, 3) == (3, conv)
    assert MATMUL.fp32_precision == matmul
    assert conv_precision() == conv


def test_the_flag_goes_back_after_an_error():
    CONV.fp32_precision, MATMUL.fp32_precision = "tf32", "ieee"
    with pytest.raises(ZeroDivisionError):
        in_conv_precision(lambda _: 1 / 0)(X)
    assert MATMUL.fp32_precision == "ieee"


def test_other_dtypes_leave_the_flag_alone():
    CONV.fp32_precision, MATMUL.fp32_precision = "tf32", "ieee"
    assert in_conv_precision(lambda _: MATMUL.fp32_precision)(X.bfloat16()) == "ieee"


def test_kernels_of_two_threads_overlap():
    """The first to begin is the first to end; the flag lasts as long as the other one."""
    CONV.fp32_precision, MATMUL.fp32_precision = "tf32", "ieee"
    both_began, first_ended = threading.Barrier(2), threading.Event()
    seen = {}

    def kernel(_, name):
        both_began.wait(10)
        if name == "second":
            assert first_ended.wait(10)
        seen[name] = MATMUL.fp32_precision

    def first():
        in_conv_precision(kernel)(X, "first")
        first_ended.set()

    threads = [
        threading.Thread(target=first),
        threading.Thread(target=in_conv_precision(kernel), args=(X, "second")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"first": "tf32", "second": "tf32"}
    assert MATMUL.fp32_precision == "ieee"


def test_torch_s_older_flag_is_followed_too():
    """And never read: torch raises if somebody has set the newer one."""
    before = torch.backends.cudnn.allow_tf32
    try:
        for allowed, expected in ((False, "ieee"), (True, "tf32")):
            torch.backends.cudnn.allow_tf32 = allowed
            assert conv_precision() == expected
    finally:
        torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_what_convolves_is_registered_so_on_a_gpu(name):
    convolves = name.startswith(("conv2d", "locally_connected"))
    found = torch._C._dispatch_has_kernel_for_dispatch_key(f"convnets::{name}", "CUDA")
    assert found == convolves


@fake_cuda
def test_a_choice_on_a_gpu_is_remembered_by_precision(monkeypatch):
    """`supports` may ask for it."""
    kernel = Kernel(
        "tf32", lambda *_: None, lambda _: None if conv_precision() == "tf32" else "ieee"
    )
    monkeypatch.setitem(TABLE, "of_this_test", (kernel,))
    with FakeTensorMode():
        x = torch.empty(1, device="cuda")
    for precision, expected in [("tf32", kernel), ("ieee", None), ("tf32", kernel)]:
        CONV.fp32_precision = precision
        assert choose("of_this_test", [x]) is expected
