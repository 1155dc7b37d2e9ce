"""Mistakes that only another device would show, found without one.

Operators run on fake tensors of that device, by their definitions and by the kernel that would be
chosen: no number is computed, but every operation is seen.  None may touch a CPU tensor, and each
that is not a view is a launch, which can be counted.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

import layers.functional as L
from layers.ops import registry
from layers.ops.geometry import Geometry
from layers.ops.pointwise import relu_backward
from layers.ops.registry import OPERATORS, choose
from tests.cases import fake_cuda, since
from tests.layers.test_contract import LAYERS

ROOT = Path(__file__).parents[2]

CONV = Geometry((3, 3), padding=(1, 1))
STRIDED = Geometry((5, 5), (2, 2), (2, 2))
POINTWISE = Geometry((1, 1))
GROUPED = Geometry((3, 3), padding=(1, 1), groups=2)
POOL = Geometry((3, 3), (2, 2), (1, 1))
FREE = {
    "empty", "empty_strided", "new_empty", "new_empty_strided", "empty_like", "detach", "device",
    "_unsafe_view", "scalar_tensor",
}  # fmt: skip

N, SWITCHES = "N", "switches"  # the batch, and what makes a tensor one of bytes
IMAGES, HALF_SIZE = (N, 16, 16, 16), (N, 16, 8, 8)
# By operator: (id, arguments as shapes or constants, launches allowed).
CASES = [
    ("conv2d", "3x3", [(N, 16, 16, 16), (32, 16, 3, 3), CONV], 5),
    ("conv2d", "thin", [(N, 3, 16, 16), (32, 3, 3, 3), CONV], 7),
    ("conv2d", "5x5-stride2", [(N, 16, 16, 16), (32, 16, 5, 5), STRIDED], 6),
    ("conv2d", "1x1", [(N, 16, 16, 16), (32, 16, 1, 1), POINTWISE], 3),
    ("conv2d", "groups", [(N, 16, 16, 16), (32, 8, 3, 3), GROUPED], 6),
    ("conv2d_input", "3x3", [(32, 16, 3, 3), (N, 32, 16, 16), CONV, (16, 16)], 13),
    ("conv2d_input", "5x5-stride2", [(32, 16, 5, 5), (N, 32, 8, 8), STRIDED, (16, 16)], 30),
    ("conv2d_input", "1x1", [(32, 16, 1, 1), (N, 32, 16, 16), POINTWISE, (16, 16)], 4),
    ("conv2d_weight", "3x3", [(N, 16, 16, 16), (N, 32, 16, 16), CONV], 8),
    ("conv2d_weight", "1x1", [(N, 16, 16, 16), (N, 32, 16, 16), POINTWISE], 5),
    ("locally_connected2d", "3x3", [IMAGES, (16, 16, 1, 144, 8), CONV], 5),
    (
        "locally_connected2d_input",
        "3x3",
        [(16, 16, 1, 144, 8), (N, 8, 16, 16), CONV, (16, 16)],
        13,
    ),
    ("locally_connected2d_weight", "3x3", [IMAGES, (N, 8, 16, 16), CONV], 5),
    ("max_pool2d", "3x3", [IMAGES, POOL, (8, 8)], 6 * 9 + 2),
    ("max_pool2d_gather", "3x3", [IMAGES, (SWITCHES, *HALF_SIZE), POOL, (8, 8)], 28),
    ("max_pool2d_backward", "3x3", [HALF_SIZE, (SWITCHES, *HALF_SIZE), POOL, (16, 16)], 28),
    ("window_sum", "3x3", [IMAGES, POOL, (8, 8)], 6),
    ("window_sum_backward", "3x3", [HALF_SIZE, POOL, (16, 16)], 7),
    ("lp_pool2d", "3x3", [IMAGES, 2.0, POOL, (8, 8)], 9),
    ("lp_pool2d_backward", "3x3", [HALF_SIZE, IMAGES, HALF_SIZE, 2.0, POOL], 13),
    ("batch_norm", "batch", [IMAGES, (16,), (16,), 1e-5], 9),
    ("batch_norm_backward", "batch", [IMAGES] * 2 + [(16,)] * 3 + [1e-5], 19),
    ("local_response_norm", "5", [IMAGES, 5, 1e-4, 0.75, 2.0], 10),
    ("local_response_norm_backward", "5", [IMAGES] * 2 + [5, 1e-4, 0.75, 2.0], 20),
]
FUNCTIONS = {
    "avg_pool2d": lambda x, c, t: L.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
    "adaptive_avg_pool2d": lambda x, c, t: L.adaptive_avg_pool2d(x, (4, 5)),
    "batch_norm": lambda x, c, t: L.batch_norm(x, c, c, c, c, training=True),
    "batch_norm-eval": lambda x, c, t: L.batch_norm(x, c, c, c, c),
    "cross_entropy": lambda x, c, t: L.cross_entropy(x[..., 0, 0], t, c, label_smoothing=0.1),
    "dropout": lambda x, c, t: L.dropout(x),
    "linear": lambda x, c, t: L.linear(x[..., 0, 0], x[..., 1, 1], c[:4]),
    "log_softmax": lambda x, c, t: L.log_softmax(x, 1),
    "lp_pool2d": lambda x, c, t: L.lp_pool2d(x, 3, 2),
    "max_pool2d": lambda x, c, t: L.max_pool2d(x, 3, 2, 1, return_indices=True)[1],
    "relu": lambda x, c, t: L.relu(x),
    "scaled_tanh": lambda x, c, t: L.scaled_tanh(x),
    "softmax": lambda x, c, t: L.softmax(x, 1),
    **{
        case.id: lambda x, c, t, case=case: case.build()(torch.empty(case.image)) for case in LAYERS
    },
}
TRITON = {  # launches of a kernel
    **dict.fromkeys(("conv2d", "conv2d_input"), 1),
    "conv2d_weight": 2,
    "locally_connected2d": 1,
    "locally_connected2d_input": 1,
    "locally_connected2d_weight": 1,
    **dict.fromkeys(("max_pool2d", "max_pool2d_gather", "max_pool2d_backward"), 1),
    **dict.fromkeys(("local_response_norm", "local_response_norm_backward"), 1),
    **dict.fromkeys(("batch_norm", "batch_norm_backward"), 3),  # 2 for a small volume
    **dict.fromkeys(("window_sum", "window_sum_backward", "lp_pool2d", "lp_pool2d_backward"), 1),
}
TO_CHANNELS_LAST = {  # copies before it, of images and filters
    **dict.fromkeys(("conv2d", "conv2d_input", "conv2d_weight", "locally_connected2d"), 2),
    **dict.fromkeys(("locally_connected2d_input", "locally_connected2d_weight"), 2),
}
each_operator = pytest.mark.parametrize(
    ("name", "arguments", "launches"),
    [case[:1] + case[2:] for case in CASES],
    ids=[f"{name}-{id}" for name, id, *_ in CASES],
)


class Launches(TorchDispatchMode):
    """Counts the operations that compute, and refuses CPU tensors."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for value in tree_iter((args, kwargs, result)):
            if isinstance(value, torch.Tensor) and value.device.type == "cpu" and value.dim():
                # A number on its own, of no dimension, travels with the launch.
                raise AssertionError(f"{function} has a tensor on the CPU")
        name = function.name().split("::")[1].split(".")[0]
        if not function.is_view and name not in FREE:
            self.names.append(name)
        return result


def make(argument, batch, device, dtype, layout):
    """A fake tensor of a shape; anything else as it is."""
    if not isinstance(argument, tuple) or isinstance(argument, Geometry) or len(argument) == 2:
        return argument
    shape = [batch if size == N else size for size in argument if size != SWITCHES]
    kind = torch.uint8 if SWITCHES in argument else dtype
    tensor = torch.empty(shape, device=device, dtype=kind)
    return tensor.contiguous(memory_format=layout) if tensor.dim() == 4 else tensor


@pytest.fixture
def triton(monkeypatch):
    """As on a GPU with Triton: what is launched, which nobody computes."""
    runtime = pytest.importorskip("layers.kernels.triton.runtime")
    names = []
    monkeypatch.setattr(runtime, "unavailable", lambda device: None)
    monkeypatch.setattr(runtime, "launch", lambda kernel, *_, **__: names.append(kernel))
    registry._choices.clear()
    yield names
    registry._choices.clear()


def compute(name, inputs, kernels):
    """What the registered operator does; called by name, it would say what fake outputs are."""
    operator = OPERATORS[name]
    inputs = [*inputs.values()]
    kernel = choose(name, inputs) if kernels else None
    if kernel is None:
        return operator.definition(*[inputs[at] for at in operator.takes])
    outputs = operator.empty(*inputs)
    kernel.compute(*inputs, *(outputs if isinstance(outputs, tuple) else [outputs]))
    return outputs


def run(name, arguments, *, kernels=True, batch=4, device="cuda", dtype=torch.float32, layout=None):
    """The names of what an operator launches."""
    layout = layout or torch.contiguous_format
    options = dict(channels_last=layout == torch.channels_last, algorithm="auto")
    with FakeTensorMode(), torch.no_grad():
        given = [make(argument, batch, device, dtype, layout) for argument in arguments]
        names = OPERATORS[name].types
        inputs = dict(zip((n for n in names if n not in options), given, strict=True))
        inputs = {n: inputs[n] if n in inputs else options[n] for n in names}
        with Launches() as launches:
            results = compute(name, inputs, kernels)
    for result in results if isinstance(results, tuple) else (results,):
        assert result.device.type == torch.device(device).type
    return launches.names


def test_every_operator_has_a_case():
    others = {"one_hot"}  # test_functions_and_layers_stay_on_the_device
    assert {name for name, *_ in CASES} == set(OPERATORS) - others


@fake_cuda
@each_operator
@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "NHWC"]
)
def test_nothing_is_on_the_cpu(name, arguments, launches, dtype, layout, kernels):
    run(name, arguments, dtype=dtype, layout=layout, kernels=kernels)


@since("2.11", "a test cannot make up a device")
def test_nor_on_a_device_that_is_neither_cpu_nor_cuda():
    """In a process of its own, because torch takes such a device up for good."""
    program = """
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend as set_up
set_up("other")
from tests.layers.test_device import CASES, FUNCTIONS, call, run
for name, _, arguments, _ in CASES:
    run(name, arguments, device="other")
for name in FUNCTIONS:
    if name != "BatchNorm2d-eval":  # whose count of batches torch makes a real tensor
        call(name, "other")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@fake_cuda
@each_operator
@pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "NHWC"]
)
def test_launches(name, arguments, launches, layout):
    few = run(name, arguments, layout=layout)
    assert len(few) <= launches, few
    # No loop over images: what fits the workspace is one piece.
    assert len(run(name, arguments, batch=256, layout=layout)) <= launches


@fake_cuda
@each_operator
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "NHWC"]
)
def test_launches_of_triton(name, arguments, launches, layout, dtype, triton):
    others = run(name, arguments, layout=layout, dtype=dtype)
    by_cublas = name.startswith("conv2d") and POINTWISE in arguments
    most = 0 if by_cublas else TRITON.get(name, 0)
    assert min(most, 1) <= len(triton) <= most, triton
    if triton:
        assert {*others} <= {"clone"}
        assert len(others) <= TO_CHANNELS_LAST.get(name, 0)


@fake_cuda
def test_relu_s_gradient_is_one_launch():
    with FakeTensorMode(), Launches() as launches:
        relu_backward(*torch.empty(2, 4, 16, device="cuda"))
    assert launches.names == ["threshold_backward"]


def call(name, device):
    """A function, or a layer, on fake tensors, of which none may be on the CPU."""
    with FakeTensorMode(), torch.no_grad(), torch.device(device):
        x, classes = torch.empty(4, 6, 9, 9), torch.empty(4, dtype=torch.long)
        numbers = torch.empty(6)
        with Launches():
            result = FUNCTIONS[name](x, numbers, classes)
    assert result.device.type == device


@fake_cuda
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_and_layers_stay_on_the_device(name):
    call(name, "cuda")


def test_divisors_filled_on_the_device():
    x = torch.randn(2, 3, 9, 8)
    for options in (dict(padding=1), dict(padding=1, count_include_pad=False), dict()):
        pool = dict(kernel_size=3, stride=2, ceil_mode=True, **options)
        torch.testing.assert_close(L.avg_pool2d(x, **pool), F.avg_pool2d(x, **pool))


def test_no_source_tests_for_cuda_where_it_means_not_the_cpu():
    sources = [path for folder in ("layers", "models") for path in (ROOT / folder).rglob("*.py")]
    # There it means cuDNN, Triton, and the precision that torch's flag for cuDNN asks for.
    allowed = {"memory_format.py", "runtime.py", "registry.py", "conv.py"}
    assert {path.name for path in sources if "is_cuda" in path.read_text()} <= allowed
