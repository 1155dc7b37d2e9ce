"""One walk over a network: rows, names, branches, and what cannot be traced."""

import pytest
import torch

import layers
import models
from analysis.walk import INPUT, UNTRACED, walk
from tests.cases import table
from tests.models.cases import NETWORKS

HUGE = ("resnet1202", "preact_resnet1001")
EACH = table([case for case in NETWORKS if not case.options and case.name not in HUGE])


def on_meta(case, nn=layers):
    with torch.device("meta"):
        return case.build(nn=nn)


def check(case):
    model, shape = on_meta(case), (2, *case.image)
    calls = walk(model, shape)
    names = [call.name for call in calls]
    assert len(set(names)) == len(names)
    for i, call in enumerate(calls):
        assert call.is_traced
        assert call.shape is not None
        assert {*call.inputs} <= {INPUT, *names[:i]}
        assert len(call.inputs) == len(call.in_shapes) > 0
        assert call.name.startswith((*call.path[-1:], ""))
    read = {name for call in calls for name in call.parameters}
    assert read == {name for name, _ in model.named_parameters()}  # with the auxiliary heads
    assert calls[-1].shape == (2, case.num_classes)
    assert INPUT in calls[0].inputs


@EACH
def test_every_network_walks_on_meta(case):
    check(case)


@pytest.mark.slow
@table([case for case in NETWORKS if case.name in HUGE])
def test_the_deepest_networks_walk_on_meta(case):
    check(case)


@table([case for case in NETWORKS if case.name in ("lenet5", "alexnet", "googlenet", "resnet18")])
def test_both_layer_sets_have_the_same_rows(case):
    ours, theirs = (walk(on_meta(case, nn), (2, *case.image)) for nn in (layers, torch.nn))
    for a, b in zip(ours, theirs, strict=True):
        assert (a.name, a.op, a.inputs, a.shape, a.path) == (
            b.name,
            b.op,
            b.inputs,
            b.shape,
            b.path,
        )


def test_a_reused_relu_is_a_row_for_each_call():
    with torch.device("meta"):
        model = models.build("resnet18")
    calls = {call.name: call for call in walk(model, (1, 3, 224, 224))}
    first, second = calls["layer1.0.relu"], calls["layer1.0.relu#2"]
    assert first.module is second.module is model.layer1[0].relu
    assert first.inputs == ("layer1.0.bn1",)
    assert second.inputs == ("layer1.0.add",)
    assert calls["layer1.0.add"].inputs == ("layer1.0.bn2", "layer1.0.downsample")
    assert calls["layer2.0.downsample.0"].inputs == ("layer1.1.relu#2",)
    assert second.path == ("layer1", "layer1.0")


def test_the_branches_of_an_inception_module():
    with torch.device("meta"):
        model = models.build("googlenet").eval()
    calls = {call.name: call for call in walk(model, (1, 3, 224, 224))}
    branches = [calls[f"inception3a.branch{i}.{j}"] for i, j in ((1, 0), (2, "0.0"), (3, "0.0"))]
    assert {call.inputs for call in branches} == {("maxpool2",)}
    joined = calls["inception3a.cat"]
    assert joined.inputs == tuple(
        f"inception3a.branch{i}" for i in ("1.1", "2.1.1", "3.1.1", "4.1.1")
    )
    assert joined.in_shapes == tuple((1, c, 28, 28) for c in (64, 128, 32, 32))
    assert joined.shape == (1, 256, 28, 28)


def test_each_tower_is_a_row():
    with torch.device("meta"):
        model = models.build("alexnet")
    calls = {call.name: call for call in walk(model, (1, 3, 224, 224))}
    assert calls["features.3.layer#2"].inputs == ("features.3.chunk",)
    assert calls["features.3.cat"].inputs == ("features.3.layer", "features.3.layer#2")


class Gate(torch.nn.Module):
    """Branches on values."""

    def __init__(self):
        super().__init__()
        self.conv = layers.Conv2d(4, 6, 3)

    def forward(self, x):
        return self.conv(x) if x.abs().sum() >= 0 else x


class Gated(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.gate = layers.Conv2d(3, 4, 3), Gate()
        self.last = layers.Conv2d(6, 2, 1)

    def forward(self, x):
        x = self.gate(self.first(x))
        if x.shape[-1] > 5:  # shapes are known
            x = x.relu()
        return self.last(x).mean((2, 3))


def test_what_branches_on_values_is_one_row_of_unknown_contents():
    rows = walk(Gated(), (1, 3, 12, 12))
    assert [call.name for call in rows] == ["first", "gate", "relu", "last", "mean"]
    gate = rows[1]
    assert gate.op == UNTRACED
    assert gate.saved is None
    assert gate.shape == (1, 6, 8, 8)
    assert gate.parameters == ("gate.conv.weight", "gate.conv.bias")
    assert rows[2].inputs == ("gate",)


def test_an_image_that_is_too_small_raises_what_the_network_raises():
    with pytest.raises(RuntimeError, match=r"[Kk]ernel size can't be greater"):
        walk(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5)), (1, 3, 3, 3))


@table([case for case in NETWORKS if case.name in ("lenet5", "resnet20", "allcnn_c")])
def test_a_walk_leaves_no_trace(case):
    model = case.build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random, call = torch.get_rng_state(), torch.nn.Module.__call__
    walk(model, (2, *case.image))
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.nn.Module.__call__ is call
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_saved_bytes_are_those_that_autograd_saves():
    from analysis.memory import saved_bytes

    for nn in (layers, torch.nn):
        model, x = models.build("resnet20", nn=nn), torch.randn(4, 3, 32, 32)
        saved = saved_bytes(model, [x])[1]
        for buffer in model.buffers():  # which batch norm of torch.nn saves
            saved -= buffer.nbytes if buffer.is_floating_point() and nn is torch.nn else 0
        assert sum(call.saved for call in walk(model, (4, 3, 32, 32))) == saved


def test_functions_are_rows():
    class Functional(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(4, 3, 3, 3))
            self.scale = torch.nn.Parameter(torch.ones(4))

        def forward(self, x):
            x = torch.nn.functional.conv2d(x, self.weight * 2, stride=2)
            x *= self.scale[:, None, None]
            return torch.cat([x + x.new_ones(1), -x], dim=1).flatten(1)

    rows = walk(Functional(), (2, 3, 9, 9))
    assert [call.op for call in rows] == ["conv2d", "mul", "add", "neg", "cat", "flatten"]
    conv, scale, *_, cat, _ = rows
    assert conv.args == ("", (4, 3, 3, 3))
    assert conv.kwargs == {"stride": 2}
    assert (conv.parameters, scale.parameters) == (("weight",), ("scale",))
    assert cat.inputs == ("add", "neg")
    assert cat.shape == (2, 8, 4, 4)


@EACH
def test_every_network_builds_and_runs_under_fake_tensors(case):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        model = case.build()
        assert models.logits(model(torch.empty(2, *case.image))).shape == (2, case.num_classes)


def test_lenet5_built_on_meta_computes_what_its_file_says():
    model, x = models.build("lenet5").eval(), torch.randn(2, 1, 32, 32)
    with torch.device("meta"):
        assigned, emptied = models.build("lenet5").eval(), models.build("lenet5").eval()
    assigned.load_state_dict(model.state_dict(), assign=True)
    emptied.to_empty(device="cpu").load_state_dict(model.state_dict())
    for other in (assigned, emptied):
        assert torch.equal(other(x), model(x))
