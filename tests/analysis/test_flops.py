"""FLOPs equal `FlopCounterMode` over torch.nn, forward and backward; MACs the papers'."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import models
from analysis.flops import backward_macs, macs
from analysis.walk import walk
from tests.cases import table
from tests.models.cases import NETWORKS

GROUPED = ("alexnet",)
DEEP = ("101", "110", "152", "164", "200", "1001", "1202", "101_v1", "152_v1")
SLOW = [case for case in NETWORKS if case.name.endswith(DEEP)]


def counted(case, shape, training):
    """What torch counts for torch.nn's layers: (forward, backward)."""
    with FakeTensorMode():
        model, x = case.build(nn=torch.nn).train(training), torch.empty(shape)
        with FlopCounterMode(display=False) as forward:
            loss = sum(y.sum() for y in tree_leaves(model(x)))
        with FlopCounterMode(display=False) as backward:
            loss.backward()
    return forward.get_total_flops(), backward.get_total_flops()


def ours(case, shape, training):
    with torch.device("meta"):
        model = case.build().train(training)
    calls = walk(model, shape)
    backward = backward_macs(calls, dict(model.named_parameters()))
    return 2 * sum(macs(call) for call in calls), 2 * sum(backward.values())


def check(case):
    shape = (2, *case.image)
    assert ours(case, shape, True) == counted(case, shape, True)  # with the auxiliary heads


@table([case for case in NETWORKS if case.name not in GROUPED and case not in SLOW])
def test_flops_equal_torch_s_forward_and_backward(case):
    check(case)


@pytest.mark.slow
@table(SLOW)
def test_flops_of_deep_networks(case):
    check(case)


def test_flops_with_groups():
    """Forward as torch; backward two forward passes, but for the image's gradient."""
    (case,) = (case for case in NETWORKS if case.name == "alexnet")
    forward, backward = ours(case, (2, *case.image), True)
    assert forward == counted(case, (2, *case.image), True)[0] == 2 * 2 * case.macs
    conv1 = 2 * 2 * 55 * 55 * 96 * 11 * 11 * 3
    assert backward == 2 * forward - conv1


@table([case for case in NETWORKS if case not in SLOW])
def test_macs_are_those_of_the_papers(case):
    with torch.device("meta"):
        model = case.build().eval()
    assert sum(macs(call) for call in walk(model, (1, *case.image))) == case.macs


def test_frozen_layers_have_no_gradients_to_compute():
    model = models.build("lenet").requires_grad_(False)
    model.classifier[4].requires_grad_(True)
    calls = walk(model, (1, 1, 32, 32))
    backward = backward_macs(calls, dict(model.named_parameters()))
    assert {name: n for name, n in backward.items() if n} == {"classifier.4": 84 * 10}


class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = torch.nn.Linear(8, 24)

    def forward(self, x):
        q, k, v = self.qkv(x.flatten(2).mT).chunk(3, -1)
        return (q @ k.mT).softmax(-1) @ v


def test_products_of_matrices():
    calls = walk(Attention(), (2, 8, 3, 5))
    assert sum(macs(call) for call in calls) == 2 * (15 * 8 * 24 + 2 * 15 * 15 * 8)


def test_what_is_unknown_is_not_zero():
    calls = walk(torch.nn.Sequential(torch.nn.Flatten(2), torch.nn.LSTM(5, 2)), (2, 3, 5, 1))
    assert [macs(call) for call in calls] == [0, None]
