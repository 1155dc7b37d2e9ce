"""What stands between a call and its computation: `__torch_function__`, and torch.fx by it."""

import copy
import inspect

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.testing import assert_close

import layers
import layers.functional as L
from tests.layers.test_contract import each_layer

X = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
ROWS, FILTERS = X[:, :, 0, 0], torch.ones(6, 4, 3, 3)
CALLS = {
    "adaptive_avg_pool2d": (X, 2),
    "avg_pool2d": (X, 2),
    "batch_norm": (X, None, None, None, None, True),
    "conv2d": (X, FILTERS),
    "conv2d_input": (X.shape, FILTERS, X.new_ones(2, 6, 4, 4)),
    "conv2d_weight": (X, FILTERS.shape, X.new_ones(2, 6, 4, 4)),
    "cross_entropy": (ROWS, torch.tensor([0, 3])),
    "dropout": (X, 0.0),
    "linear": (ROWS, torch.ones(5, 4)),
    "linear_input": (torch.ones(5, 4), torch.ones(2, 5)),
    "linear_weight": (ROWS, torch.ones(2, 5)),
    "local_response_norm": (X, 3),
    "locally_connected2d": (X, torch.ones(4, 4, 1, 36, 6), None, 3),
    "log_softmax": (X, 1),
    "lp_pool2d": (X, 2, 2),
    "max_pool2d": (X, 2),
    "max_pool2d_with_switches": (X, 2),
    "max_unpool2d": (X, torch.zeros(X.shape, dtype=torch.uint8), 2),
    "relu": (X,),
    "scaled_tanh": (X,),
    "softmax": (X, 1),
    "tanh": (X,),
}  # fmt: skip
each_function = pytest.mark.parametrize("name", L.__all__)


class Watched(torch.Tensor):
    """Notes which functions it is given to."""

    calls: list = []  # noqa: RUF012

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        cls.calls.append(function)
        return super().__torch_function__(function, types, args, kwargs or {})


class Watch(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.calls.append(function)
        return function(*args, **(kwargs or {}))


def first(output):
    return output if isinstance(output, torch.Tensor) else output[0]


@each_function
def test_a_subclass_of_tensor_sees_one_call(name):
    function, arguments = getattr(L, name), CALLS[name]
    watched = [a.as_subclass(Watched) if isinstance(a, torch.Tensor) else a for a in arguments]
    Watched.calls.clear()
    y = first(function(*watched))
    assert Watched.calls == [function]
    assert type(y) is Watched
    assert torch.equal(y.as_subclass(torch.Tensor), first(function(*arguments)))


@each_function
def test_a_mode_sees_one_call_and_keywords_count(name):
    function, arguments = getattr(L, name), CALLS[name]
    by_name = inspect.signature(function).bind(*arguments).arguments
    with Watch() as watch:
        y = function(**by_name)
    assert watch.calls == [function]
    assert torch.equal(first(y), first(function(*arguments)))


def test_a_single_image_is_one_call():
    image = X[0]
    with Watch() as watch:
        L.conv2d(image, FILTERS)
    assert watch.calls == [L.conv2d]


def test_compiles_where_a_default_device_is_set():
    """Which is a mode."""
    layer = torch.compile(layers.Conv2d(4, 6, 3), fullgraph=True, backend="aot_eager")
    with torch.device("cpu"):
        assert layer(X).shape == (2, 6, 4, 4)


@each_layer
def test_fx_traces_a_layer_as_one_call(case):
    layer, x = case.build(), torch.randn(case.image)
    traced = torch.fx.symbolic_trace(layer)
    (call,) = (node for node in traced.graph.nodes if node.op.startswith("call"))
    assert call.op == "call_function"
    assert call.target.__module__.startswith("layers.")
    assert torch.equal(traced(x), layer(x))
    assert torch.equal(copy.deepcopy(traced)(x), layer(x))


def test_fx_counts_batches_when_it_runs_not_when_it_traces():
    ours, twin = layers.BatchNorm2d(4), torch.nn.BatchNorm2d(4)
    traced = torch.fx.symbolic_trace(ours)
    assert ours.num_batches_tracked == 0
    for _ in range(3):
        assert_close(traced(X), twin(X))
    assert_close(dict(ours.named_buffers()), dict(twin.named_buffers()))
    with pytest.raises(ValueError, match=r"expected 4D input \(got 3D input\)"):
        traced(X[0])
