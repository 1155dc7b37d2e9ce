"""The peak of a step, predicted on fake tensors, against the same step measured."""

import time
from functools import partial

import pytest
import torch

import layers
import models
from analysis import memory_table
from analysis import predicted_memory as pm
from tests.models.cases import NETWORKS

CIFAR, DIGITS = (3, 32, 32), (1, 32, 32)
EVERY_LAYER = (
    "INPUT -> [CONV3-16 -> LRN -> RELU -> POOL2]*2 -> LOCAL3-8 -> RELU -> L2POOL2 -> "
    "[FC64 -> RELU -> DROPOUT] -> FC"
)
WIDE = "INPUT -> [CONV3-64 -> BN -> RELU]*2 -> POOL2 -> [CONV1-32 -> RELU] -> GAP -> FC"  # Winograd
CHANNELS_LAST = {"memory_format": torch.channels_last}


def network(name, nn=layers):
    options = {"in_channels": 3, "num_classes": 10, "image_size": 32} if " " in name else {}
    return partial(models.build, name, nn=nn, **options)


def error(build, shape, predict=pm.predict, measure=pm.measure, **options):
    measured = measure(build, shape, **options)
    return predict(build, shape, **options).peak / measured - 1


@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [
        ("lenet", (64, *DIGITS), {}),
        ("lenet", (7, *DIGITS), {"optimizer": "adamw"}),
        ("lenet5", (16, *DIGITS), CHANNELS_LAST),
        ("resnet20", (4, *CIFAR), {}),
        ("lenet", (64, *DIGITS), {"dtype": torch.bfloat16}),
        ("resnet20", (4, *CIFAR), {"dtype": torch.float64, "optimizer": "nesterov"}),
        ("allcnn_c", (2, *CIFAR), {}),
        (EVERY_LAYER, (16, *CIFAR), {}),
        (EVERY_LAYER, (16, *CIFAR), CHANNELS_LAST),
        (WIDE, (9, *CIFAR), {}),
        (WIDE, (9, *CIFAR), CHANNELS_LAST),
    ],
)
def test_a_training_step_of_our_layers(name, shape, options):
    assert error(network(name), shape, **options) == pytest.approx(0, abs=0.03)


def test_batch_norm_in_half_precision():
    """oneDNN multiplies bfloat16, and what it allocates is not seen."""
    found = error(network("resnet20"), (4, *CIFAR), dtype=torch.bfloat16)
    assert found == pytest.approx(0, abs=0.1)


def test_the_definitions_alone():
    with layers.reference():
        assert error(network("resnet20"), (2, *CIFAR)) == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize(("name", "image"), [("lenet", DIGITS), ("resnet20", CIFAR)])
def test_a_training_step_of_torch_s_layers(name, image):
    """Without what oneDNN allocates."""
    build = network(name, torch.nn)
    assert -0.2 <= error(build, (16, *image), nn=torch.nn) <= 0.03


@pytest.mark.parametrize(
    ("name", "image"), [("lenet", DIGITS), ("resnet20", CIFAR), ("allcnn_c", CIFAR)]
)
def test_inference(name, image):
    found = error(network(name), (4, *image), pm.predict_inference, pm.measure_inference)
    assert found == pytest.approx(0, abs=0.03)


def test_the_parts_are_what_they_are_called():
    build = network("lenet")
    weights = sum(parameter.nbytes for parameter in build().parameters())
    p = pm.predict(build, (64, *DIGITS))
    assert p.weights == p.optimizer == weights
    assert 0 < p.gradients <= weights
    assert p.peak == p.weights + p.gradients + p.optimizer + p.activations + p.temporary
    assert p.activations > 64 * 32 * 32 * 4  # the images
    assert p.workspace >= 4 << 20
    adam = pm.predict(build, (64, *DIGITS), optimizer="adamw")
    assert adam.optimizer == pytest.approx(2 * weights, rel=1e-3)
    inference = pm.predict_inference(build, (64, *DIGITS))
    assert (inference.weights, inference.gradients, inference.optimizer) == (weights, 0, 0)
    assert inference.peak < p.peak


def test_frozen_weights_have_neither_gradients_nor_momenta():
    model = network("lenet")()
    head = [*model.parameters()][-2:]
    for parameter in model.parameters():
        parameter.requires_grad_(any(parameter is one for one in head))
    p = pm.predict(model, (2, *DIGITS))
    assert p.optimizer == sum(parameter.nbytes for parameter in head)


def test_nothing_is_left_behind():
    """Not in the network, the random numbers, or the memory that kernels keep."""
    model, x = network(WIDE)(), torch.randn(2, *CIFAR)
    model.eval()
    state, random = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    before = model(x)
    pm.predict(model, (2, *CIFAR))
    assert not model.training
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(model(x), before)
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key])
    assert all(parameter.grad is None for parameter in model.parameters())


class Maps(torch.nn.Module):
    """(N, 5, H, W) logits, as of a segmentation, or several volumes that are none."""

    def __init__(self, several=False):
        super().__init__()
        self.conv, self.norm = torch.nn.Conv2d(3, 5, 1), torch.nn.BatchNorm2d(5)
        self.several = several

    def forward(self, x):
        y = self.norm(self.conv(x))
        return {"a": y, "b": y.mean()} if self.several else y


@pytest.mark.parametrize("several", [False, True])
def test_a_network_of_somebody_else(several):
    found = error(partial(Maps, several), (8, 3, 24, 24), nn=torch.nn)
    assert found == pytest.approx(0, abs=0.2)


def test_a_network_larger_than_any_machine():
    p = pm.predict(network("vgg16"), (100_000, 3, 224, 224))
    assert p.peak > 2 << 40


@pytest.mark.parametrize(
    ("name", "image", "available"),
    [
        ("lenet", DIGITS, 10e6),
        pytest.param("resnet20", CIFAR, 60e6, marks=pytest.mark.slow),
        pytest.param("allcnn_c", CIFAR, 80e6, marks=pytest.mark.slow),
    ],
)
def test_the_largest_batch_fits_when_it_is_measured(name, image, available):
    build = network(name)
    size, prediction, margin = pm.largest_batch(build, image, available)
    assert margin == 1.03
    assert prediction.peak * margin <= available
    assert pm.predict(build, (size + 1, *image)).peak * margin > available
    assert 0.9 * available < pm.measure(build, (size, *image)) <= available


def test_no_batch_fits():
    assert pm.largest_batch(network("lenet"), DIGITS, 1e5) == (0, None, 1.03)
    assert pm.largest_batch(network("lenet"), DIGITS, 1e9, most=5).size == 5
    assert pm.largest_batch(network("lenet"), DIGITS, 1e9, most=0).size == 0


def test_two_images_are_the_smallest_batch_for_a_norm_of_single_pixels():
    build = network("INPUT -> CONV3-4 -> GAP -> BN -> FC")
    first = pm.predict(build, (2, *CIFAR)).peak
    assert pm.largest_batch(build, CIFAR, first * 1.03 + 1).size == 2
    assert pm.largest_batch(build, CIFAR, first).size == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", memory_table.STEPS)
def test_the_table(name):
    """Ten families, two batches, both layer sets: as docs/memory.md has it."""
    for batch in memory_table.STEPS[name][1]:
        assert memory_table.compare(name, batch, "ours").error == pytest.approx(0, abs=0.03)
        assert -0.2 <= memory_table.compare(name, batch, "torch.nn").error <= 0.03


@pytest.mark.slow
@pytest.mark.parametrize("name", models.MODELS)
def test_a_prediction_takes_five_seconds(name):
    """Of CPU time, up to ResNet-152."""
    build = network(name)
    with torch.device("meta"):
        convolutions = sum(isinstance(m, torch.nn.Conv2d) for m in build().modules())
    if convolutions > 160:
        pytest.skip("larger than ResNet-152")
    image = next(case.image for case in NETWORKS if case.name == name)
    start = time.process_time()
    pm.predict(build, (4, *image))
    assert time.process_time() - start <= 5
