"""What holds for every network: its size, its shapes, both layer sets, torchvision's twin."""

import copy
import inspect
import pickle
import re

import pytest
import torch
import torchvision
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

import layers
import models
from tests.cases import fake_cuda, table
from tests.models.cases import NETWORKS

SMALL = [case for case in NETWORKS if case.small]
TWINS = [case for case in NETWORKS if case.torchvision]


def on_meta(build, *arguments, **options):
    """Build a network on the meta device: shapes alone, at no cost."""
    with torch.device("meta"):
        return build(*arguments, **options)


def outputs(output):
    """The outputs of all classifiers, as a tuple."""
    return (output,) if isinstance(output, torch.Tensor) else tuple(output)


def error(a, b):
    """Largest difference relative to the largest magnitude; the worst over lists of tensors.

    The magnitude of a tensor counts as at least a thousandth of that of the largest tensor: the
    gradient of a bias before batch normalisation is zero up to rounding.
    """
    if isinstance(b, torch.Tensor):
        a, b = [a], [b]
    sizes = [y.detach().abs().max() for y in b]
    least = max(sizes) / 1000
    differences = [torch.dist(x, y, float("inf")) for x, y in zip(a, b, strict=True)]
    return max(d / max(size, least) for d, size in zip(differences, sizes, strict=True)).item()


@torch.no_grad()
def with_unit_gain(network):
    """Rescale weights that are initialised as small as AlexNet's to the variance of He et al. 2015.

    Otherwise all values in a pooling window are nearly equal, and in float32 rounding decides
    which is the largest, and so where the gradient goes.
    """
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            weight = module.weight
            weight.mul_((2 / weight[0].numel()) ** 0.5 / weight.std())
    return network


MANY_LAYERS = ("resnet1202", "preact_resnet1001")
PATTERN = (
    "INPUT[3x32x32] -> [CONV -> BN -> RELU -> LRN5 -> POOL]*2 -> LOCAL3-8 -> TANH -> L2POOL2 -> "
    "AVGPOOL2 -> DROPOUT0.5 -> GAP -> FC512 -> FC"
)


@fake_cuda
@pytest.mark.parametrize("name", [n for n in [*models.MODELS, PATTERN] if n not in MANY_LAYERS])
def test_every_network_is_built_on_the_default_device(name):
    """On meta and on a fake GPU, for more classes than LeNet-5 has bitmaps."""
    network = on_meta(models.build, name, num_classes=12)
    assert all(t.is_meta for t in (*network.parameters(), *network.buffers()))
    with FakeTensorMode(), torch.device("cuda"):
        network = models.build(name, num_classes=12)
    assert all(t.is_cuda for t in (*network.parameters(), *network.buffers()))


@table(NETWORKS)
def test_signature(case):
    parameters = inspect.signature(models.MODELS[case.name]).parameters
    assert next(iter(parameters)) == "num_classes"
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    channels, size, _ = case.image
    expected = dict(num_classes=case.num_classes, in_channels=channels, image_size=size, nn=layers)
    assert {name: defaults[name] for name in expected} == expected


@table(NETWORKS)
def test_parameters_and_multiply_adds(case):
    network = on_meta(case.build, torch.nn).eval()
    assert sum(p.numel() for p in network.parameters()) == case.parameters
    with FlopCounterMode(display=False) as counter:
        logits = network(torch.empty(1, *case.image, device="meta"))
    assert logits.shape == (1, case.num_classes)
    assert counter.get_total_flops() == 2 * case.macs


@fake_cuda
@table(SMALL)
def test_output_shapes(case):
    """In both modes, and for non-square images of one channel and 3 classes.

    On a fake GPU, where nothing is computed, but tensors on two devices do not mix.
    """
    with FakeTensorMode(), torch.device("cuda"):
        network = case.build()
        x = torch.empty(2, *case.image)
        for training in (False, True):
            for output in outputs(network.train(training)(x)):
                assert output.shape == (2, case.num_classes)
                assert output.device.type == "cuda"
    height, width = case.image[1] + 17, case.image[2] + 2
    network = on_meta(case.build, in_channels=1, image_size=(height, width), num_classes=3)
    assert network.eval()(torch.empty(2, 1, height, width, device="meta")).shape == (2, 3)


@table(SMALL)
def test_a_small_image_is_refused_with_the_smallest_that_fits(case):
    with pytest.raises(ValueError, match=r"too small for .*: the smallest that fits is") as refused:
        on_meta(case.build, image_size=0)
    smallest = int(re.findall(r"\d+", str(refused.value))[-1])
    with pytest.raises(ValueError, match=f"the smallest that fits is {smallest} x {smallest}"):
        on_meta(case.build, image_size=smallest - 1)
    for nn in (layers, torch.nn):
        network = on_meta(case.build, nn, image_size=smallest)
        network(torch.empty(2, case.image[0], smallest, smallest, device="meta"))


@pytest.mark.parametrize(
    ("name", "smallest"),
    [
        ("lenet", 16), ("lenet5", 16), ("resnet18", 1), ("resnet20", 1), ("preact_resnet164", 1),
        ("model_c", 9), ("strided_cnn_c", 9), ("convpool_cnn_c", 9), ("allcnn_c", 9),
        ("deepface", 72),
    ],
)  # fmt: skip
def test_the_smallest_image(name, smallest):
    on_meta(models.build, name, image_size=smallest)
    with pytest.raises(ValueError, match=f"the smallest that fits is {smallest} x {smallest}"):
        on_meta(models.build, name, image_size=smallest - 1)


def from_one_seed(case):
    """The network from both layer sets, in evaluation mode; the parameters must be the same."""
    networks = []
    for nn in (layers, torch.nn):
        torch.manual_seed(0)
        networks.append(case.build_small(nn).eval())
    ours, theirs = (network.state_dict() for network in networks)
    assert list(ours) == list(theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours.values(), theirs.values(), strict=True))
    return networks


def outputs_and_gradients(network, nn, x):
    """The outputs and the gradients of the loss, with the same dropout masks every time."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        output = network(x)
    loss = models.criterion(network, nn)(output, torch.tensor([3, 6]))
    parameters = list(network.parameters())  # in evaluation, auxiliary heads are not used
    return outputs(output), torch.autograd.grad(loss, parameters, materialize_grads=True)


@table(SMALL)
def test_both_layer_sets_have_the_same_outputs_and_gradients(case):
    """In float64 in training mode, with all classifiers; in float32 in evaluation mode.

    In float32 a ReLU or a maximum may be decided by rounding, after which gradients do differ, so
    one of six batches must agree, by im2col; Winograd's algorithm, whose rounding errors are ten
    times as large, must agree in the outputs.
    """
    ours, theirs = from_one_seed(case)
    with_unit_gain(ours)

    def errors(x):
        found = outputs_and_gradients(ours, layers, x)
        expected = outputs_and_gradients(theirs, torch.nn, x)
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


def twin(case, **options):
    """torchvision's network with random weights, by its faster initialisation."""
    if case.torchvision == "googlenet":
        options |= dict(aux_logits=case.options.get("aux_logits", True))
    if case.torchvision.startswith(("googlenet", "vgg")):
        options |= dict(init_weights=False)
    return torchvision.models.get_model(case.torchvision, weights=None, **options)


@table(TWINS)
def test_torchvision_s_keys_and_shapes(case):
    """For images of any size."""
    ours, theirs = (
        {key: tuple(value.shape) for key, value in on_meta(build).state_dict().items()}
        for build in (case.build, lambda: twin(case))
    )
    assert ours == theirs
    small = on_meta(case.build, image_size=case.small or 64).state_dict()
    assert {key: tuple(value.shape) for key, value in small.items()} == theirs


@table(TWINS)
def test_torchvision_s_weights_give_torchvision_s_outputs(case):
    size = case.small or 64
    theirs = twin(case, num_classes=7).double()
    ours = on_meta(case.build, num_classes=7, image_size=size)
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    x = torch.randn(2, 3, size, size, dtype=torch.float64)
    x = x.contiguous(memory_format=torch.channels_last)  # see `small_batch`
    for training in (False, True):
        found = []
        for network in (ours, theirs):
            torch.manual_seed(1)
            found.append(network.train(training)(x))
        assert error(*map(models.logits, found)) < 1e-9
    if case.options.get("aux_logits", case.torchvision == "googlenet"):
        assert error(found[0].aux1, found[1].aux_logits1) < 1e-9
        assert error(found[0].aux2, found[1].aux_logits2) < 1e-9
    expected = dict(theirs.named_buffers())
    for name, buffer in ours.named_buffers():  # running averages
        assert_close(buffer, expected[name], rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("lenet", 32), ("lenet5", 32), ("resnet20", 16), ("preact_resnet110", 8), ("allcnn_c", 9),
        ("deepface", 72),
    ],
)  # fmt: skip
@pytest.mark.parametrize("nn", [layers, torch.nn], ids=["custom", "torch"])
def test_deepcopy_and_pickle(name, size, nn):
    channels = 1 if name.startswith("lenet") else 3
    network = models.build(name, num_classes=3, image_size=size, nn=nn).eval()
    x = torch.randn(2, channels, size, size)
    for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(copied(x), network(x))
