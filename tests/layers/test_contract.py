"""What torch.nn does, ours does too: one test per promise, each over every layer.

A layer is named by its torch.nn class; the same arguments build ours and its twin.
"""

import copy
import inspect
import pickle
import threading
import warnings
from typing import NamedTuple

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jvp, vmap
from torch.testing import assert_close

import layers
import layers.functional as L
from layers.ops.registry import OPERATORS
from tests.cases import UnfoldedLocallyConnected2d, channels_last


class LayerCase(NamedTuple):
    id: str
    name: str
    arguments: dict
    image: tuple = (3, 4, 8, 8)

    def build(self, nn=layers, **more):
        """Ours, or its twin."""
        torch.manual_seed(0)
        untied = nn is torch.nn and self.name == "LocallyConnected2d"
        kind = UnfoldedLocallyConnected2d if untied else getattr(nn, self.name)
        layer = kind(**self.arguments, **more)
        return layer.eval() if self.id.endswith("-eval") else layer


LAYERS = [
    LayerCase("Conv2d", "Conv2d", dict(in_channels=4, out_channels=6, kernel_size=3, padding=1)),
    LayerCase(
        "Conv2d-stride", "Conv2d", dict(in_channels=4, out_channels=6, kernel_size=3, stride=2)
    ),
    LayerCase("Conv2d-1x1", "Conv2d", dict(in_channels=4, out_channels=6, kernel_size=1)),
    LayerCase(
        "Conv2d-groups", "Conv2d", dict(in_channels=4, out_channels=6, kernel_size=2, groups=2)
    ),
    LayerCase(
        "LocallyConnected2d",
        "LocallyConnected2d",
        dict(in_channels=4, out_channels=6, image_size=8, kernel_size=3, stride=2, groups=2),
    ),
    LayerCase("Linear", "Linear", dict(in_features=8, out_features=5)),
    LayerCase("MaxPool2d", "MaxPool2d", dict(kernel_size=2)),
    LayerCase("MaxPool2d-overlap", "MaxPool2d", dict(kernel_size=3, stride=2, padding=1)),
    LayerCase("AvgPool2d", "AvgPool2d", dict(kernel_size=2)),
    LayerCase("AvgPool2d-padded", "AvgPool2d", dict(kernel_size=3, padding=1, ceil_mode=True)),
    LayerCase("AdaptiveAvgPool2d", "AdaptiveAvgPool2d", dict(output_size=(3, 5))),
    LayerCase("AdaptiveAvgPool2d-global", "AdaptiveAvgPool2d", dict(output_size=1)),
    LayerCase("LPPool2d", "LPPool2d", dict(norm_type=2, kernel_size=2)),
    LayerCase("LocalResponseNorm", "LocalResponseNorm", dict(size=3, alpha=0.5, k=2.0)),
    LayerCase("BatchNorm2d-eval", "BatchNorm2d", dict(num_features=4)),
    LayerCase("BatchNorm2d-batch", "BatchNorm2d", dict(num_features=4, track_running_stats=False)),
    LayerCase("Dropout-eval", "Dropout", dict(p=0.5)),
    LayerCase("Softmax", "Softmax", dict(dim=1)),
    LayerCase("LogSoftmax", "LogSoftmax", dict(dim=1)),
    LayerCase("ReLU", "ReLU", dict()),
    LayerCase("Tanh", "Tanh", dict()),
]
each_layer = pytest.mark.parametrize("case", LAYERS, ids=[case.id for case in LAYERS])


@pytest.mark.parametrize(
    "case",
    [case for case in LAYERS if hasattr(torch.nn, case.name)],
    ids=[case.id for case in LAYERS if hasattr(torch.nn, case.name)],
)
def test_is_a_subclass_with_the_same_signature_and_state(case):
    ours, twin = case.build(), case.build(torch.nn)
    assert isinstance(ours, type(twin))
    more = ["algorithm"] if isinstance(ours, layers.Conv2d) else []  # ours alone, by keyword
    assert _arguments(type(ours)) == _arguments(type(twin)) + more
    assert repr(ours) == repr(twin)
    assert list(ours.state_dict()) == list(twin.state_dict())
    for a, b in zip(ours.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)  # same initialisation from the same seed


@pytest.mark.parametrize(
    "name",
    [
        "conv2d", "linear", "avg_pool2d", "adaptive_avg_pool2d", "lp_pool2d", "max_unpool2d",
        "relu", "tanh", "dropout", "batch_norm", "cross_entropy",
    ],
)  # fmt: skip
def test_a_function_has_its_twin_s_arguments_in_order(name):
    twin = getattr(torch.nn.functional, name)
    try:
        theirs = inspect.signature(twin)
    except ValueError:  # a builtin tells its signature in the first lines of its documentation
        arguments = twin.__doc__.split("(")[1].split(")")[0].replace(" ", "").split(",")
        theirs = [argument.split("=")[0] for argument in arguments]
    else:
        theirs = list(theirs.parameters)
    more = ["algorithm"] if name == "conv2d" else []  # ours alone, and last
    assert _arguments(getattr(L, name)) == theirs + more


def _arguments(function):
    return list(inspect.signature(function).parameters)


@each_layer
def test_channels_last_and_contiguous_agree(case):
    layer, x = case.build(), torch.randn(case.image)
    assert_close(layer(channels_last(x)), layer(x))


@each_layer
def test_empty_batch(case):
    x = torch.randn(0, *case.image[1:], requires_grad=True)
    ours, twin = case.build(), case.build(torch.nn)
    y = ours(x)
    assert y.shape == twin(x).shape
    y.sum().backward()
    assert x.grad.shape == x.shape


@each_layer
def test_deepcopy_and_pickle(case):
    layer, x = case.build(), torch.randn(case.image)
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(copied(x), layer(x))


@each_layer
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast(case, dtype):
    ours, twin = case.build(), case.build(torch.nn)
    x = torch.randn(case.image, requires_grad=True)
    with torch.autocast("cpu", dtype):
        a, b = ours(x), twin(x)
    assert a.dtype == b.dtype
    assert_close(a.float(), b.float(), rtol=2e-2, atol=2e-2)
    gradients = [torch.autograd.grad(y.float().sum(), x, retain_graph=True)[0] for y in (a, b)]
    assert gradients[0].dtype == gradients[1].dtype
    assert_close(*gradients, rtol=5e-2, atol=5e-2)


@each_layer
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_weights(case, dtype):
    ours, twin = case.build().to(dtype), case.build(torch.nn).to(dtype)
    x = torch.randn(case.image).to(dtype)
    try:
        expected = twin(x)
    except NotImplementedError:  # torch has no such kernel for this dtype
        expected = twin.float()(x.float()).to(dtype)
    assert_close(ours(x), expected, rtol=3e-2, atol=3e-2)


@each_layer
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_keeps_half_precision(case, dtype):
    """What is kept for the backward pass takes half the memory, too."""
    layer, x = case.build().to(dtype), torch.randn(case.image).to(dtype).requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = layer(x)
    assert y.dtype == dtype
    volumes = [t for t in kept if t.numel() >= min(x.numel(), y.numel())]
    assert {t.dtype for t in volumes if t.is_floating_point()} <= {dtype}


@each_layer
def test_meta_device_has_shapes_alone(case):
    x = torch.empty(case.image, device="meta")
    ours, twin = case.build().to("meta"), case.build(torch.nn).to("meta")
    assert ours(x).shape == twin(x).shape


@each_layer
def test_compile_without_graph_breaks(case):
    layer, twin = case.build(), case.build(torch.nn)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = torch.randn(case.image, requires_grad=True)
    assert_close(compiled(x), twin(x))
    gradients = [
        torch.autograd.grad(f(x).pow(2).sum(), (x, *module.parameters()))
        for f, module in ((compiled, layer), (twin, twin))
    ]
    assert_close(*gradients, rtol=1e-4, atol=1e-4)


@each_layer
def test_the_graph_does_not_grow_with_the_batch(case):
    sizes = []

    def count(graph, _):
        sizes.append(len(graph.graph.nodes))
        return graph

    for batch in (2, 64):
        torch._dynamo.reset()
        layer = torch.compile(case.build().requires_grad_(False), fullgraph=True, backend=count)
        layer(torch.randn(batch, *case.image[1:]))
    assert sizes[0] == sizes[1]


@each_layer
def test_export(case):
    layer, x = case.build(), torch.randn(case.image)
    batch = torch.export.Dim("batch", min=2, max=1024)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(layer, (x,), dynamic_shapes=({0: batch},))
    larger = torch.randn(7, *case.image[1:])
    assert_close(program.module()(larger), layer(larger))


def test_an_exported_program_refuses_to_be_differentiated():
    """It has the operators, but not the Functions with their derivatives; to_torch's has both."""
    layer, x = layers.Conv2d(4, 6, 3), torch.randn(2, 4, 6, 6)
    exported = torch.export.export(layer, (x,)).module()
    with pytest.raises(NotImplementedError, match=r"export layers.to_torch\(network\) to"):
        exported(x).sum().backward()
    with pytest.raises(NotImplementedError, match=r"export layers.to_torch\(network\) to"):
        jvp(exported, (x,), (x,))
    program = torch.export.export(layers.to_torch(layer), (x,)).module()
    program(x).sum().backward()
    assert program.weight.grad is not None


@each_layer
def test_vmap_gives_per_sample_gradients(case):
    def per_sample(layer, x):
        def loss(parameters, image):
            return functional_call(layer, parameters, (image[None],)).pow(2).sum()

        parameters = {k: v.detach() for k, v in layer.named_parameters()}
        return vmap(grad(loss, argnums=(0, 1)), in_dims=(None, 0))(parameters, x)

    x = torch.randn(case.image)
    assert_close(
        per_sample(case.build(), x), per_sample(case.build(torch.nn), x), rtol=1e-4, atol=1e-4
    )


@each_layer
def test_vmap_over_an_ensemble(case):
    """Three networks at once: weights and images both carry the vmapped dimension, or one does."""
    layer = case.build()
    stacked = {k: torch.randn(3, *v.shape) for k, v in layer.named_parameters()}
    x = torch.randn(3, *case.image)
    shared = torch.randn(case.image)

    def call(parameters, image):
        return functional_call(layer, parameters, (image,))

    each = [{k: v[i] for k, v in stacked.items()} for i in range(3)]
    both = vmap(call)(stacked, x)
    assert_close(both, torch.stack([call(p, xi) for p, xi in zip(each, x, strict=True)]))
    if stacked:
        weights = vmap(call, in_dims=(0, None))(stacked, shared)
        assert_close(weights, torch.stack([call(p, shared) for p in each]))


@each_layer
def test_forward_mode_derivative(case):
    x, t = torch.randn(case.image), torch.randn(case.image)
    ours, twin = case.build(), case.build(torch.nn)
    assert_close(jvp(ours, (x,), (t,)), jvp(twin, (x,), (t,)))
    parameters = {k: v.detach() for k, v in ours.named_parameters()}
    if parameters:
        tangents = {k: torch.randn_like(v) for k, v in parameters.items()}
        derivatives = [
            jvp(lambda p, layer=layer: functional_call(layer, p, (x,)), (parameters,), (tangents,))
            for layer in (ours, twin)
        ]
        assert_close(*derivatives)


@each_layer
@pytest.mark.parametrize("which", ["image", "parameters", "upstream"])
def test_forward_over_reverse(case, which):
    """The tangent of a gradient that nobody records: forward mode through a backward pass."""
    results = []
    for nn in (layers, torch.nn):
        layer = case.build(nn).double()
        torch.manual_seed(1)
        x, t = torch.randn(2, *case.image, dtype=torch.float64)
        with forward_ad.dual_level():
            image = x.clone().requires_grad_()
            if which == "image":
                image = forward_ad.make_dual(image, t)
            parameters = {k: p.detach().requires_grad_() for k, p in layer.named_parameters()}
            if which == "parameters":
                parameters = {
                    k: forward_ad.make_dual(p, torch.ones_like(p)) for k, p in parameters.items()
                }
            y = functional_call(layer, parameters, (image,))
            dy = torch.ones_like(y) / 3
            if which == "upstream":
                dy = forward_ad.make_dual(dy, torch.ones_like(dy))
            gradients = torch.autograd.grad(y, (image, *parameters.values()), dy)
            tangents = [forward_ad.unpack_dual(g).tangent for g in gradients]
        results.append(
            [
                torch.zeros_like(g) if t is None else t
                for g, t in zip(gradients, tangents, strict=True)
            ]
        )
    assert_close(*results)


@each_layer
def test_second_derivative(case):
    results = []
    for nn in (layers, torch.nn):
        layer = case.build(nn).double()
        torch.manual_seed(1)
        x = torch.randn(case.image, dtype=torch.float64, requires_grad=True)
        (first,) = torch.autograd.grad(layer(x).pow(3).sum(), x, create_graph=True)
        results.append(torch.autograd.grad(first.pow(2).sum(), x)[0])
    assert_close(*results)


@each_layer
def test_threads_do_not_disturb_each_other(case):
    layer = case.build()
    images = [torch.randn(case.image) for _ in range(8)]
    expected = [layer(x) for x in images]
    results = [None] * 8

    def work(i):
        for _ in range(5):
            results[i] = layer(images[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_close(results, expected)


@pytest.mark.parametrize("name", ["Conv2d", "Linear"])
def test_weight_norm_on_top(name):
    results = []
    for nn in (layers, torch.nn):
        torch.manual_seed(0)
        layer = nn.Conv2d(4, 3, 3) if name == "Conv2d" else nn.Linear(8, 3)
        layer = torch.nn.utils.parametrizations.weight_norm(layer)
        x = torch.ones(2, 4, 8, 8)
        y = layer(x)
        results.append((y, *torch.autograd.grad(y.sum(), layer.parameters())))
    assert_close(*results)


@pytest.mark.parametrize("kernels", [True, False])
def test_registered_operators_pass_torch_s_own_checks(kernels):
    """torch.library.opcheck: schema, fake outputs and their agreement with the real ones."""
    x, weight, g = torch.randn(2, 4, 6, 6), torch.randn(6, 2, 3, 3), torch.randn(2, 6, 6, 6)
    conv, size = [3, 3, 1, 1, 1, 1, 1, 1, 2], [6, 6]
    untied = torch.randn(6, 6, 2, 18, 3)
    pool, outputs = [3, 3, 2, 2, 1, 1, 1, 1, 1], [3, 3]
    y = torch.rand(2, 4, 3, 3)
    switches = torch.randint(9, y.shape, dtype=torch.uint8)
    gamma, beta, mean, variance = torch.rand(4, 4)
    response = 3, 0.1, 0.75, 2.0
    calls = {
        "conv2d": (x, weight, conv, True, "auto"),
        "conv2d_input": (weight, g, conv, size, True, "auto"),
        "conv2d_weight": (x, g, conv, True, "auto"),
        "locally_connected2d": (x, untied, conv, True),
        "locally_connected2d_input": (untied, g, conv, size, True),
        "locally_connected2d_weight": (x, g, conv, True),
        "max_pool2d": (x, pool, outputs, True),
        "max_pool2d_gather": (x, switches, pool, outputs, True),
        "max_pool2d_backward": (y, switches, pool, size, True),
        "window_sum": (x, pool, outputs, True),
        "window_sum_backward": (y, pool, size, True),
        "lp_pool2d": (x, 2.0, pool, outputs, True),
        "lp_pool2d_backward": (y, x, y, 2.0, pool, True),
        "batch_norm": (x, gamma, beta, 1e-5, True),
        "batch_norm_backward": (x + 1, x, gamma, mean, variance, 1e-5, True),
        "local_response_norm": (x, *response),
        "local_response_norm_backward": (x + 1, x, *response),
        "one_hot": (torch.tensor([0, 2]), 3, torch.float32, -100),
    }
    assert calls.keys() == OPERATORS.keys()
    for name, arguments in calls.items():
        torch.library.opcheck(getattr(torch.ops.convnets, name).default, (*arguments, kernels))


@pytest.mark.gpu
@each_layer
def test_on_a_gpu(case):
    ours, twin = case.build().cuda(), case.build(torch.nn).cuda()
    x = torch.randn(case.image, device="cuda", requires_grad=True)
    a, b = ours(x), twin(x)
    assert_close(a, b, rtol=1e-3, atol=1e-3)
    assert_close(*(torch.autograd.grad(y.sum(), x)[0] for y in (a, b)), rtol=1e-3, atol=1e-3)
