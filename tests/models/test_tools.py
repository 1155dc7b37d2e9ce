"""torch's own tools on one network of each family; docs/tools.md lists the tools."""

import pytest
import torch
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

import layers
import models
from tests.cases import table
from tests.models.cases import NETWORKS, NetworkCase

PATTERN = (
    "INPUT -> CONV3-8 -> BN -> RELU -> LRN3 -> L2POOL2 -> LOCAL3-8 -> TANH -> AVGPOOL2 -> "
    "[FC8 -> RELU -> DROPOUT] -> FC"
)
CASES = [*NETWORKS, NetworkCase(PATTERN, 0, 0, 16, small_options=dict(in_channels=3))]
FAMILIES = (
    "lenet", "lenet5", "alexnet", "zfnet", "vgg11_lrn", "vgg11_bn", "googlenet", "googlenet_bn",
    "resnet18", "resnet18-shortcut=A", "resnet20", "preact_resnet18", "allcnn_c", "deepface",
    PATTERN,
)  # fmt: skip
each_family = table([case for case in CASES if case.id in FAMILIES])
COMPILED = {*FAMILIES} - {"googlenet", "resnet18-shortcut=A"}  # to save time
GROUPED = ("alexnet",)  # with groups


def logits(network, x):
    """The logits, with the same dropout masks every time."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return models.logits(network(x))


@each_family
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_symbolic_trace(case, training):
    network, x = case.build_small().train(training), case.small_batch()
    traced = torch.fx.symbolic_trace(network)
    assert torch.equal(logits(traced, x), logits(network, x))
    functions = {node.target for node in traced.graph.nodes if node.op == "call_function"}
    assert any(function.__module__.startswith("layers.") for function in functions)


@pytest.mark.filterwarnings("ignore:NOTE. The nodes obtained:UserWarning")  # auxiliary heads
@each_family
def test_create_feature_extractor(case):
    network, x = case.build_small().eval(), case.small_batch()
    last = get_graph_node_names(network)[1][-1]
    extractor = create_feature_extractor(network, return_nodes={last: "scores"})
    assert torch.equal(extractor(x)["scores"], network(x))


def test_create_feature_extractor_by_module_names():
    network, x = models.build("resnet20", num_classes=7).eval(), torch.randn(2, 3, 32, 32)
    maps = create_feature_extractor(network, return_nodes=["conv1", "layer2.0.bn1", "layer3"])(x)
    assert [*maps] == ["conv1", "layer2.0.bn1", "layer3"]
    assert torch.equal(maps["conv1"], network.conv1(x))
    assert torch.equal(network.fc(network.avgpool(maps["layer3"]).flatten(1)), network(x))


@table([case for case in CASES if case.id in COMPILED])
def test_compile_and_export(case):
    """In training mode, the whole network as one graph."""
    network, x = case.build_small(), torch.randn(2, case.image[0], case.small, case.small)
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # compiled, the masks may differ
    torch._dynamo.reset()
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    assert_close(logits(compiled, x), logits(network, x), rtol=1e-4, atol=1e-4)
    program = torch.export.export(network.eval(), (x,))
    assert_close(program.module()(x), network(x), rtol=1e-4, atol=1e-4)


def flops(network, x):
    """By module, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        models.logits(network(x)).sum().backward()
    counts = counter.get_flop_counts()
    return {name: sum(operators.values()) for name, operators in counts.items()}


@table([case for case in CASES if case.id in FAMILIES and case.id not in GROUPED])
@pytest.mark.parametrize("needs_x", [False, True], ids=["weights", "image-and-weights"])
def test_flops_equal_torch_s(case, needs_x):
    x = case.small_batch().requires_grad_(needs_x)
    ours, theirs = (flops(case.build_small(nn), x) for nn in (layers, torch.nn))
    assert ours["Global"] > 0
    assert ours == theirs


def test_flops_of_a_network_with_groups():
    """Forward as torch; in backward, torch counts the gradient of the weights G times."""
    network, x = models.build("alexnet", num_classes=7, image_size=64), torch.randn(2, 3, 64, 64)
    with FlopCounterMode(display=False) as forward:
        network(x)
    with FlopCounterMode(display=False) as theirs:
        layers.to_torch(network)(x)
    assert forward.get_total_flops() == theirs.get_total_flops()
    with FlopCounterMode(display=False) as first:
        network.features[:2](x)
    both = flops(network, x)["Global"]
    # All but the first layer, whose image requires no gradient, take three forward passes.
    assert both == 3 * forward.get_total_flops() - first.get_total_flops()


@each_family
def test_to_torch(case):
    network, x = case.build_small().eval(), case.small_batch()
    twin = layers.to_torch(network)
    assert_close(twin(x), network(x), rtol=1e-3, atol=1e-3)
    assert all(a is b for a, b in zip(twin.parameters(), network.parameters(), strict=True))
    built = case.build_small(torch.nn)
    assert [type(module) for module in twin.modules()] == [type(m) for m in built.modules()]
