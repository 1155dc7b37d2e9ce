"""Every layer's output and every gradient have the strides of torch.nn's network."""

import pytest
import torch

import layers
import models
from layers.interop.memory_format import elementwise_like
from tests.cases import channels_last, contiguous
from tests.models.cases import NETWORKS

DEEPER = {  # with the same blocks as others
    "vgg13", "vgg16", "vgg19", "vgg13_bn", "vgg16_bn", "vgg19_bn", "zfnet_512",
    "resnet32", "resnet34", "resnet44", "resnet56", "resnet110",
    "preact_resnet34", "preact_resnet164",
}  # fmt: skip
SMALL = [case for case in NETWORKS if case.small and case.name not in DEEPER]


def strides(network, x):
    """By layer and parameter; a gradient that has both memory formats counts as contiguous."""
    found = {}

    def record(name):
        def hook(layer, inputs, output):
            if isinstance(output, torch.Tensor):
                found[name] = output.stride()

        return hook

    hooks = [layer.register_forward_hook(record(name)) for name, layer in network.named_modules()]
    output = network(x)
    for hook in hooks:
        hook.remove()
    outputs = [output] if isinstance(output, torch.Tensor) else output
    parameters = dict(network.named_parameters())
    loss = sum(y.sum() for y in outputs)
    dx, *gradients = torch.autograd.grad(loss, [x, *parameters.values()])
    for name, gradient in zip(parameters, gradients, strict=True):
        found[f"gradient of {name}"] = elementwise_like(gradient).stride()
    return {**found, "dx": dx.stride()}


def check(network, image):
    twin = layers.to_torch(network)
    for layout in (contiguous, channels_last):
        x = layout(torch.randn(2, *image)).requires_grad_()
        ours, theirs = strides(network, x), strides(twin, x)
        assert ours == theirs, layout.__name__


@pytest.mark.parametrize("case", SMALL, ids=[case.id for case in SMALL])
def test_networks(case):
    check(case.build_small(), (case.image[0], case.small, case.small))


def test_pattern():
    pattern = (
        "INPUT[3x32x32] -> [CONV -> BN -> RELU -> LRN5 -> POOL]*2 -> TANH -> L2POOL2 -> "
        "AVGPOOL2 -> DROPOUT0.5 -> GAP -> FC512 -> FC"
    )
    check(models.build(pattern, num_classes=10), (3, 32, 32))
