"""One pass over a larger image, and the crops that it stands for."""

import pytest
import torch

import layers
import models
from analysis.dense import Dense, cost, crops, multiply_adds, stride
from analysis.surgery import SurgeryError
from models.alexnet import CeilPadding

UNPADDED = "INPUT[1x20x20] -> CONV3-4p0 -> RELU -> POOL2 -> CONV2-6p0 -> RELU -> POOL2 -> FC9 -> FC"


def build(name, size, **options):
    network = models.build(name, num_classes=5, image_size=size, **options).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            fan_in = parameter[0].numel() if parameter.dim() > 1 else 100
            parameter.normal_(std=fan_in**-0.5)
    return network


def without_padding(network):
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.MaxPool2d):
            module.padding = (0, 0) if isinstance(module, torch.nn.Conv2d) else 0
    return network


@torch.no_grad()
def difference(network, window, image, shifts=1):
    """The largest difference of the map from crops, in parts of the largest score."""
    dense = Dense(network, (image.shape[1], window, window), shifts)
    scores = dense.map(image).movedim(1, -1).flatten(0, 2)
    one_by_one = network(crops(image, dense.window, dense.stride))
    assert scores.shape == one_by_one.shape
    return ((scores - one_by_one).abs().max() / one_by_one.abs().max()).item()


def test_lenet_pads_nowhere():
    x = torch.randn(2, 1, 32, 57, dtype=torch.float64)
    assert difference(build("lenet", 32), 32, x) < 1e-9
    assert difference(build("lenet5", 32), 32, x) < 1e-9


@pytest.mark.parametrize("shifts", [1, 2, 4])
def test_shifted_passes_are_interleaved(shifts):
    x = torch.randn(1, 1, 33, 30, dtype=torch.float64)
    assert difference(build(UNPADDED, 20), 20, x, shifts) < 1e-9
    assert Dense(build(UNPADDED, 20), (1, 20, 20), shifts).map(x).shape[2:] == (
        13 * shifts // 4 + 1, 10 * shifts // 4 + 1,
    )  # fmt: skip


def test_more_shifts_than_pixels_of_the_stride():
    with pytest.raises(SurgeryError, match="a stride of 4 pixels, which 3 shifts do not divide"):
        Dense(build(UNPADDED, 20), (1, 20, 20), shifts=3)


NARROW_VGG = "INPUT[3x56x56] -> [[CONV3-4 -> RELU]*2 -> POOL2]*3 -> FC9 -> RELU -> FC"


@pytest.mark.filterwarnings("ignore:column")  # the chapter would pad
@torch.no_grad()
def test_padding_is_the_difference_from_crops():
    """Each crop has zeros around it, where a place of the larger image has neighbours."""
    x = torch.randn(1, 3, 80, 72, dtype=torch.float64)
    assert difference(build(NARROW_VGG, 56), 56, x) > 1e-3
    unpadded = NARROW_VGG.replace("CONV3-4", "CONV3-4p0")
    assert difference(build(unpadded, 56), 56, x) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "window", "size", "at_least"),
    [("alexnet", 227, 291, 1e-3), ("zfnet", 235, 299, 1e-3), ("vgg11", 224, 288, 1e-3)],
)
@torch.no_grad()
def test_padding_is_the_difference_in_the_networks_of_the_chapter(name, window, size, at_least):
    """Without padding the volumes are smaller, so the unpadded twin has another head.

    Windows are such that no pooling window reaches beyond the border, which is padding, too.
    """
    x = torch.randn(1, 3, size, size, dtype=torch.float64)
    padded = build(name, window)
    measured = difference(padded, window, x)
    twin = without_padding(build(name, window))
    features = twin.features(x[..., :window, :window])
    twin.avgpool = torch.nn.Identity()
    first = next(i for i, m in enumerate(twin.classifier) if isinstance(m, torch.nn.Linear))
    inputs = features[0].numel()
    twin.classifier[first] = layers.Linear(inputs, 4096).double()
    unpadded = difference(twin, window, x)
    print(f"{name}: {measured:.1e} from crops, without padding {unpadded:.1e}")
    assert not any(isinstance(m, CeilPadding) and pads(m, window) for m in twin.modules())
    assert measured > at_least
    assert unpadded < 1e-9


def pads(module, size):
    return module(torch.empty(1, 1, size, size)).shape[2] != size


def test_strides():
    assert stride(build("resnet20", 32), (3, 32, 32)) == 4
    assert stride(build("lenet", 32), (1, 32, 32)) == 4


def test_vgg_at_384_pixels_gives_the_chapter_s_6_by_6_and_11_by_11():
    """Shapes and multiplications alone, on meta."""
    with torch.device("meta"):
        vgg16 = models.build("vgg16").eval()
    dense = Dense(vgg16, (3, 224, 224))
    assert dense.stride == 32
    assert dense.map(torch.empty(1, 3, 384, 384, device="meta")).shape == (1, 1000, 6, 6)
    finer = Dense(vgg16, (3, 224, 224), shifts=2)
    assert finer.map(torch.empty(1, 3, 384, 384, device="meta")).shape == (1, 1000, 11, 11)
    crop = multiply_adds(vgg16, (1, 3, 224, 224))
    assert crop == 15_470_264_320
    once = multiply_adds(dense, (1, 3, 384, 384))
    assert 36 * crop > 10 * once
    assert cost(vgg16, (3, 224, 224), 384) == ((6, 6), 1, once, 36 * crop)
    told = str(cost(vgg16, (3, 224, 224), 384, shifts=2))
    assert "11 x 11 places in 4 pass(es)" in told
    assert "as 121 crops" in told


@torch.no_grad()
def test_the_mean_of_the_map_is_the_answer():
    network, x = build("lenet", 32), torch.randn(3, 1, 40, 40, dtype=torch.float64)
    dense = Dense(network, (1, 32, 32))
    expected = network(crops(x, (32, 32), 4)).unflatten(0, (3, 9)).mean(1)
    assert torch.allclose(dense(x), expected)


def test_the_network_stays_as_it_is():
    network = build("lenet", 32)
    before = {name: p.clone() for name, p in network.named_parameters()}
    Dense(network, (1, 32, 32)).map(torch.zeros(1, 1, 40, 40, dtype=torch.float64))
    assert all(torch.equal(p, before[name]) for name, p in network.named_parameters())


@pytest.mark.parametrize("shifts", [1, 2])
@pytest.mark.parametrize("size", [33, 37])
@torch.no_grad()
def test_a_padded_network_has_no_places_beyond_its_windows(size, shifts):
    dense = Dense(build("resnet20", 32), (3, 32, 32), shifts)
    places = (size - 32) // dense.stride + 1
    x = torch.randn(1, 3, size, size, dtype=torch.float64)
    assert dense.map(x).shape == (1, 5, places, places)
    assert cost(build("resnet20", 32), (3, 32, 32), size, shifts).places == (places, places)
