"""Tools that others wrote for torch.nn: a test for each row of docs/tools.md.

torch.fx is in test_overrides.py, FlopCounterMode in test_flops.py, pruning and parametrisations in
test_twins.py, compilation and function transforms in test_contract.py, whole networks in
tests/models/test_tools.py.
"""

import warnings

import pytest
import torch
from torch.testing import assert_close

import layers
from layers import to_torch

X = torch.randn(2, 4, 6, 6)


def small_network(nn=layers):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(32, 5), nn.Tanh(), nn.Linear(5, 3),
    ).eval()  # fmt: skip


def test_torchinfo():
    torchinfo = pytest.importorskip("torchinfo")
    ours, theirs = (
        torchinfo.summary(small_network(nn), X.shape, verbose=0) for nn in (layers, torch.nn)
    )
    assert ours.total_mult_adds == theirs.total_mult_adds > 0
    assert str(ours) == str(theirs)


def test_profiler():
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=cpu, acc_events=True) as profile:
        small_network()(X)
    assert {"Convolution", "convnets::conv2d"} <= {event.key for event in profile.key_averages()}


def test_captum_s_gradients():
    """Which need no table of types; of those that do, GuidedBackprop asks isinstance."""
    attr = quietly(pytest.importorskip, "captum.attr")
    for method in (attr.Saliency, attr.IntegratedGradients, attr.GuidedBackprop):
        ours, theirs = small_network(), small_network(torch.nn)
        assert_close(*(quietly(attribution, method, network) for network in (ours, theirs)))


def test_captum_s_deep_lift_needs_to_torch():
    method = quietly(pytest.importorskip, "captum.attr").DeepLift
    ours = small_network()
    direct, twin, expected = (
        quietly(attribution, method, n) for n in (ours, to_torch(ours), small_network(torch.nn))
    )
    assert_close(twin, expected)
    assert not torch.allclose(direct, expected, rtol=1e-2)


def attribution(method, network):
    return method(network).attribute(X.clone().requires_grad_(), target=1)


def quietly(compute, *arguments):
    """Without the warnings of packages older than this torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compute(*arguments)


def test_thop_needs_to_torch():
    thop = quietly(pytest.importorskip, "thop")
    direct, twin, expected = (
        thop.profile(network, (X,), verbose=False)
        for network in (small_network(), to_torch(small_network()), small_network(torch.nn))
    )
    assert twin == expected
    assert twin[0] > 0
    assert direct == (0, 0)


def test_fvcore_needs_to_torch():
    """It traces with torch.jit, where an autograd.Function is a closed box."""
    fvcore = quietly(pytest.importorskip, "fvcore.nn")

    def total(network):
        return fvcore.FlopCountAnalysis(network, X).unsupported_ops_warnings(False).total()

    ours = small_network()
    direct, twin, expected = (
        quietly(total, n) for n in (ours, to_torch(ours), small_network(torch.nn))
    )
    assert twin == expected > 0
    assert direct == 0


def test_quantisation_needs_to_torch():
    from torch.ao.nn.quantized.dynamic import Linear
    from torch.ao.quantization import quantize_dynamic

    def quantise(network):
        return quietly(quantize_dynamic, network, {torch.nn.Linear}, torch.qint8)

    network = small_network()
    quantised = quantise(to_torch(network))
    assert [type(quantised[i]) for i in (5, 7)] == [Linear, Linear]
    assert_close(quantised(X), network(X), rtol=0.1, atol=0.02)
    assert [type(quantise(network)[i]) for i in (5, 7)] == [layers.Linear, layers.Linear]


def test_onnx_needs_to_torch():
    pytest.importorskip("onnxscript")
    from onnx.reference import ReferenceEvaluator

    def export(network):
        return quietly(lambda: torch.onnx.export(network, (X,), dynamo=True, verbose=False))

    network = small_network()
    program = export(to_torch(network))
    assert "Conv" in [node.op_type for node in program.model.graph]
    (image,) = program.model.graph.inputs
    (y,) = ReferenceEvaluator(program.model_proto).run(None, {image.name: X.numpy()})
    assert_close(torch.from_numpy(y), network(X))
    with pytest.raises(torch.onnx.OnnxExporterError, match="convnets"):
        export(network)


def test_torch_script_needs_to_torch():
    network = small_network()
    scripted = quietly(torch.jit.script, to_torch(network))
    assert_close(scripted(X), network(X))
    with pytest.raises((RuntimeError, ValueError)):  # of the first annotation it cannot read
        quietly(torch.jit.script, network)
