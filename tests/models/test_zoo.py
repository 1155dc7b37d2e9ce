"""What holds for every network: its size, its shapes, both layer sets, torchvision's twin."""

import re

import pytest
import torch
import torchvision
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

import layers
import models
from tests.cases import fake_cuda, table
from tests.models.cases import NETWORKS
from tests.models.residual_cases import RESIDUAL

TWINS = [case for case in NETWORKS if case.torchvision]


def on_meta(build, *arguments, **options):
    """A network without numbers: shapes alone, at no cost."""
    with torch.device("meta"):
        return build(*arguments, **options)


def parts(output):
    """What a network answers, as a tuple."""
    return (output,) if isinstance(output, torch.Tensor) else tuple(output)


def error(a, b):
    """Largest difference, relative to the largest number; of lists, the worst pair's.

    A tensor a thousand times smaller than the largest one counts as that large: the gradient of a
    bias before batch normalisation is zero but for rounding.
    """
    if isinstance(b, torch.Tensor):
        a, b = [a], [b]
    sizes = [y.detach().abs().max() for y in b]
    least = max(sizes) / 1000
    differences = [torch.dist(x, y, float("inf")) for x, y in zip(a, b, strict=True)]
    return max(d / max(size, least) for d, size in zip(differences, sizes, strict=True)).item()


@torch.no_grad()
def with_unit_gain(network):
    """Weights as large as He et al. 2015 want them.

    From AlexNet's small ones all values of a pooling window come out nearly equal, and in float32
    rounding would decide which is the largest, and so where the gradient goes.
    """
    for parameter in network.parameters():
        if parameter.dim() > 1:
            parameter.mul_((2 / parameter[0].numel()) ** 0.5 / parameter.std())
    return network


def test_every_network_has_a_row():
    elsewhere = {"lenet", "lenet5"}  # test_lenet.py
    assert {case.name for case in NETWORKS + RESIDUAL} == set(models.MODELS) - elsewhere


NAMES = [name for name in models.MODELS if name not in ("resnet1202", "preact_resnet1001")]
PATTERN = (
    "INPUT[3x32x32] -> [CONV -> BN -> RELU -> LRN5 -> POOL]*2 -> LOCAL3-8 -> TANH -> L2POOL2 -> "
    "AVGPOOL2 -> DROPOUT0.5 -> GAP -> FC512 -> FC"
)


@fake_cuda
@pytest.mark.parametrize("name", [*NAMES, PATTERN])
def test_every_network_is_built_without_numbers(name):
    """On the meta device, and on a fake GPU, for more classes than LeNet-5 has pictures of."""
    network = on_meta(models.build, name, num_classes=12)
    assert all(t.is_meta for t in (*network.parameters(), *network.buffers()))
    with FakeTensorMode(), torch.device("cuda"):
        network = models.build(name, num_classes=12)
    assert all(t.is_cuda for t in (*network.parameters(), *network.buffers()))


@table(NETWORKS)
def test_parameters_and_multiply_adds(case):
    network = on_meta(case.build, torch.nn).eval()
    assert sum(p.numel() for p in network.parameters()) == case.parameters
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, *case.image, device="meta"))
    assert counter.get_total_flops() == 2 * case.macs


@fake_cuda
@table(NETWORKS)
def test_output_shapes(case):
    """At the native size in both modes; from grey images that are not square, for 3 classes.

    On a fake GPU: no GPU and no numbers, but tensors of two devices do not mix.
    """
    with FakeTensorMode(), torch.device("cuda"):
        network = case.build()
        x = torch.empty(2, *case.image)
        for training in (False, True):
            for part in parts(network.train(training)(x)):
                assert part.shape == (2, case.num_classes)
                assert part.device.type == "cuda"
    channels, height, width = 1, case.image[1] + 17, case.image[2] + 2
    options = dict(in_channels=channels, image_size=(height, width), num_classes=3)
    network = on_meta(case.build, **options)
    assert network.eval()(torch.empty(2, channels, height, width, device="meta")).shape == (2, 3)


@table(NETWORKS)
def test_a_small_image_is_refused_with_the_smallest_that_fits(case):
    with pytest.raises(ValueError, match=r"too small for .*: the smallest that fits is") as refused:
        on_meta(case.build, image_size=1)
    smallest = int(re.findall(r"\d+", str(refused.value))[-1])
    with pytest.raises(ValueError, match=f"the smallest that fits is {smallest} x {smallest}"):
        on_meta(case.build, image_size=smallest - 1)
    for nn in (layers, torch.nn):
        network = on_meta(case.build, nn, image_size=smallest)
        network(torch.empty(2, case.image[0], smallest, smallest, device="meta"))


def answers_and_gradients(network, nn, x):
    """What the network answers, and its loss's gradients; dropout draws the same every time."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        output = network(x)
    loss = models.criterion(network, nn)(output, torch.tensor([3, 6]))
    parameters = list(network.parameters())  # those of auxiliary heads are unused in evaluation
    return parts(output), torch.autograd.grad(loss, parameters, materialize_grads=True)


@table(NETWORKS)
def test_both_layer_sets_have_the_same_answers_and_gradients(case):
    """In float64 in training, every head included; in float32 in evaluation.

    In float32 batch normalisation over the few numbers of a small image magnifies rounding, and a
    ReLU or a maximum on the brink may fall to either side, after which gradients do differ.  Of a
    few batches one has no such case.
    """
    ours = with_unit_gain(case.build_small()).eval()
    theirs = on_meta(case.build_small, torch.nn).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())

    def errors(dtype):
        x = case.small_batch(dtype)
        found = answers_and_gradients(ours, layers, x)
        expected = answers_and_gradients(theirs, torch.nn, x)
        return [error(a, b) for a, b in zip(found, expected, strict=True)]

    theirs.load_state_dict(ours.state_dict(), assign=True)
    assert any(max(errors(torch.float32)) < 1e-4 for _ in range(5))
    ours.double().train()
    theirs.train().load_state_dict(ours.state_dict(), assign=True)
    assert max(errors(torch.float64)) < 1e-9


def twin(case, **options):
    """torchvision's network with random weights: of two kinds the quicker."""
    if case.torchvision == "googlenet":
        options |= dict(aux_logits=case.options.get("aux_logits", True))
    if case.torchvision.startswith(("googlenet", "vgg")):
        options |= dict(init_weights=False)
    return torchvision.models.get_model(case.torchvision, weights=None, **options)


@table(TWINS)
def test_torchvision_s_keys_and_shapes(case):
    ours, theirs = (
        {key: tuple(value.shape) for key, value in on_meta(build).state_dict().items()}
        for build in (case.build, lambda: twin(case))
    )
    assert ours == theirs
    small = on_meta(case.build, image_size=case.small).state_dict()
    assert {key: tuple(value.shape) for key, value in small.items()} == theirs


@table(TWINS)
def test_torchvision_s_weights_give_torchvision_s_answers(case):
    theirs = twin(case, num_classes=7).double()
    ours = on_meta(case.build, num_classes=7, image_size=case.small)
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    x = case.small_batch(torch.float64)
    for training in (False, True):
        outputs = []
        for network in (ours, theirs):
            torch.manual_seed(1)
            outputs.append(network.train(training)(x))
        assert error(*map(models.logits, outputs)) < 1e-9
    if case.options.get("aux_logits", case.torchvision == "googlenet"):
        assert error(outputs[0].aux1, outputs[1].aux_logits1) < 1e-9
        assert error(outputs[0].aux2, outputs[1].aux_logits2) < 1e-9
