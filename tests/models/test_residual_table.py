"""What holds for every row of residual_cases.py: size, shapes, layer sets, torchvision's twin."""

import copy
import inspect
import pickle
import re

import pytest
import torch
import torchvision
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

import layers
import models
from tests.cases import table
from tests.models.residual_cases import RESIDUAL

WITH_NUMBERS = [case for case in RESIDUAL if case.small]
TWINS = [case for case in RESIDUAL if case.torchvision]


def on_meta(build, *arguments, **options):
    """A network without numbers: shapes alone, at no cost."""
    with torch.device("meta"):
        return build(*arguments, **options)


def error(a, b):
    """Largest difference, relative to the largest number; all tensors of a list together."""
    if isinstance(b, torch.Tensor):
        a, b = [a], [b]
    size = max(y.detach().abs().max() for y in b)
    return max(torch.dist(x, y, float("inf")) / size for x, y in zip(a, b, strict=True)).item()


@table(RESIDUAL)
def test_parameters_and_multiply_adds(case):
    network = on_meta(case.build, torch.nn).eval()
    assert sum(p.numel() for p in network.parameters()) == case.parameters
    with FlopCounterMode(display=False) as counter:
        logits = network(torch.empty(1, *case.image, device="meta"))
    assert logits.shape == (1, case.num_classes)
    assert counter.get_total_flops() / 2 == case.macs


@table(RESIDUAL)
def test_signature(case):
    parameters = inspect.signature(models.MODELS[case.name]).parameters
    assert next(iter(parameters)) == "num_classes"
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    expected = dict(in_channels=3, image_size=case.image[1], nn=layers)
    assert defaults["num_classes"] == case.num_classes
    assert {name: defaults[name] for name in expected} == expected
    others = set(defaults) - {"num_classes", *expected}
    assert others <= {"shortcut", "zero_init_residual", "init"}


@table(WITH_NUMBERS)
def test_output_shapes(case):
    """In both modes, from images of the native size, and from others that are not square."""
    network = on_meta(case.build)
    x = torch.empty(2, *case.image, device="meta")
    for training in (False, True):
        assert network.train(training)(x).shape == (2, case.num_classes)
    height, width = case.image[1] + 17, case.image[2] + 2
    network = on_meta(case.build, in_channels=1, image_size=(height, width), num_classes=3)
    assert network.eval()(torch.empty(2, 1, height, width, device="meta")).shape == (2, 3)


@table(WITH_NUMBERS)
def test_a_small_image_is_refused_with_the_smallest_that_fits(case):
    with pytest.raises(ValueError, match=r"too small for .*: the smallest that fits is") as refused:
        on_meta(case.build, image_size=0)
    smallest = int(re.findall(r"\d+", str(refused.value))[-1])
    expected = {
        "deepface": 72,
        "model_c": 9,
        "strided_cnn_c": 9,
        "convpool_cnn_c": 9,
        "allcnn_c": 9,
    }
    assert smallest == expected.get(case.name, 1)
    with pytest.raises(ValueError, match=f"the smallest that fits is {smallest} x {smallest}"):
        on_meta(case.build, image_size=smallest - 1)
    network = on_meta(case.build, image_size=smallest).eval()
    network(torch.empty(2, case.image[0], smallest, smallest, device="meta"))


def logits_and_gradients(network, nn, x):
    """Logits, and the loss's gradients; dropout draws the same units every time."""
    torch.manual_seed(1)
    logits = network(x)
    loss = models.criterion(network, nn)(logits, torch.tensor([3, 6]))
    return [logits], torch.autograd.grad(loss, list(network.parameters()))


@table(WITH_NUMBERS)
def test_both_layer_sets_have_the_same_logits_and_gradients(case):
    """In float64 in training; in float32 in evaluation.

    In float32 batch normalisation over the few numbers of a small image magnifies rounding, and a
    ReLU on the brink may fall to either side, after which gradients do differ.  Of a few batches
    one has no such case, by im2col; Winograd's algorithm rounds ten times as coarsely, and is held
    to the logits.
    """
    ours = case.build_small().eval()
    theirs = on_meta(case.build_small, torch.nn).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())

    def errors(x):
        found = logits_and_gradients(ours, layers, x)
        expected = logits_and_gradients(theirs, torch.nn, x)
        return [error(a, b) for a, b in zip(found, expected, strict=True)]

    theirs.load_state_dict(ours.state_dict(), assign=True)
    batches = [case.small_batch() for _ in range(6)]
    assert errors(batches[0])[0] < 1e-4
    for module in ours.modules():
        if isinstance(module, layers.Conv2d):
            module.algorithm = "im2col"
    assert any(max(errors(x)) < 1e-4 for x in batches)
    ours.double().train()
    theirs.train().load_state_dict(ours.state_dict(), assign=True)
    assert max(errors(case.small_batch(torch.float64))) < 1e-9


@table(TWINS)
def test_torchvision_s_keys_and_shapes(case):
    ours, theirs = (
        {key: tuple(value.shape) for key, value in on_meta(build).state_dict().items()}
        for build in (case.build, torchvision.models.get_model_builder(case.torchvision))
    )
    assert ours == theirs
    assert list(ours) == list(theirs)


@table(TWINS)
def test_torchvision_s_weights_give_torchvision_s_logits(case):
    theirs = torchvision.models.get_model(case.torchvision, weights=None, num_classes=7).double()
    ours = on_meta(case.build, num_classes=7)
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    for training in (False, True):
        assert error(ours.train(training)(x), theirs.train(training)(x)) < 1e-9
    for (key, a), b in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert_close(a, b, rtol=1e-9, atol=1e-9, msg=key)  # the running averages of that step


@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet20", 16), ("preact_resnet110", 8), ("allcnn_c", 9), ("deepface", 72)],
)
def test_deepcopy_and_pickle(name, size):
    network = models.build(name, num_classes=3, image_size=size).eval()
    x = torch.randn(2, 3, size, size)
    for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(copied(x), network(x))
