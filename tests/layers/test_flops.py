"""FlopCounterMode counts ours as it counts torch.nn's."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode, flop_registry

import layers
import layers.functional as L
from tests.cases import CONV, table
from tests.layers.test_contract import each_layer


def count(compute):
    with FlopCounterMode(display=False) as counter:
        compute()
    return counter.get_total_flops()


@table(CONV)
@pytest.mark.parametrize("needs", [(True, False), (False, True), (True, True)], ids=str)
def test_flops_of_a_convolution(case, needs):
    """torch's, forward and backward; but of a filters' gradient in groups torch counts G."""
    x, weight = torch.randn(case.image), torch.randn(case.weight)
    operands = [t.requires_grad_(need) for t, need in zip((x, weight), needs, strict=True)]
    forward, whole, expected = (
        count(compute)
        for compute in (
            lambda: L.conv2d(*operands, **case.options),
            lambda: L.conv2d(*operands, **case.options).sum().backward(),
            lambda: F.conv2d(*operands, **case.options).sum().backward(),
        )
    )
    assert forward == count(lambda: F.conv2d(*operands, **case.options))
    assert whole == forward * (1 + sum(needs))
    assert case.groups > 1 or whole == expected


@each_layer
def test_flops_of_a_layer_forward_and_backward(case):
    if case.name == "LocallyConnected2d":
        pytest.skip("no twin: see below")
    x = torch.randn(case.image, requires_grad=True)
    ours, theirs = case.build(), case.build(torch.nn)
    whole = count(lambda: ours(x).sum().backward())
    if case.id == "Conv2d-groups":
        assert whole == 3 * count(lambda: theirs(x))
    else:
        assert whole == count(lambda: theirs(x).sum().backward())


def test_flops_of_a_locally_connected_layer():
    """Two for each weight and image, and as many for each gradient."""
    layer = layers.LocallyConnected2d(4, 6, 6, 3, stride=2, groups=2)
    x = torch.randn(2, 4, 6, 6, requires_grad=True)
    assert count(lambda: layer(x)) == 2 * 2 * layer.weight.numel()
    assert count(lambda: layer(x).sum().backward()) == 3 * 2 * 2 * layer.weight.numel()


def test_flops_of_what_has_no_products_are_zero():
    """A new operator has to be in either list."""
    names = torch._C._dispatch_get_all_op_names()
    ours = {name.split("::")[1] for name in names if name.startswith("convnets::")}
    counted = {name for name in ours if getattr(torch.ops.convnets, name) in flop_registry}
    nothing = {
        "max_pool2d", "max_pool2d_gather", "max_pool2d_backward",
        "window_sum", "window_sum_backward", "lp_pool2d", "lp_pool2d_backward",
        "batch_norm", "batch_norm_backward",
        "local_response_norm", "local_response_norm_backward", "one_hot",
    }  # fmt: skip
    assert ours - counted == nothing
