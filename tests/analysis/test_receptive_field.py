"""Receptive fields equal what gradients find, in networks that are made positive and linear."""

import pytest
import torch

import models
from analysis.receptive_field import ReceptiveField, receptive_fields
from analysis.walk import walk
from tests.cases import table
from tests.models.cases import NETWORKS, NetworkCase


class Probed(Exception):
    """Ends the forward pass behind the last layer that is asked for."""


class Averaging(torch.nn.Module):
    """A convolution with equal, positive filters, which needs one channel."""

    def __init__(self, conv):
        super().__init__()
        self.out_channels = conv.out_channels
        self.conv = torch.nn.Conv2d(
            1, 1, conv.kernel_size, conv.stride, conv.padding, conv.dilation, bias=False,
            dtype=torch.float64,
        )  # fmt: skip

    def forward(self, x):
        return self.conv(x.mean(1, keepdim=True)).expand(-1, self.out_channels, -1, -1)


def positive_linear_twin(case, size):
    """The network in float64 with positive weights, averages for maxima, and no normalisation."""
    with torch.device("cpu" if case.name == "lenet5" else "meta"):
        model = case.build(nn=torch.nn, image_size=size).double().eval()
    for module in [*model.modules()]:
        for name, child in module.named_children():
            if isinstance(child, torch.nn.Conv2d):
                setattr(module, name, Averaging(child))
            if isinstance(child, torch.nn.MaxPool2d):
                window = child.kernel_size, child.stride, child.padding, child.ceil_mode
                setattr(module, name, torch.nn.AvgPool2d(*window))
            if isinstance(child, torch.nn.LocalResponseNorm | torch.nn.BatchNorm2d):
                setattr(module, name, torch.nn.Identity())
            if isinstance(child, torch.nn.Linear):  # behind the maps
                setattr(module, name, torch.nn.Identity())
            if name.startswith("aux"):
                setattr(module, name, None)
    model = model if case.name == "lenet5" else model.to_empty(device="cpu")
    for parameter in model.parameters():
        parameter.data.fill_(0.1)
    return model.requires_grad_(False)


def outputs(model, x, names):
    """The outputs of some calls of modules, "relu#2" the second one."""
    found, counts, handles = {}, {}, []

    def hook(module, inputs, output, name):
        counts[name] = counts.get(name, 0) + 1
        key = name if counts[name] == 1 else f"{name}#{counts[name]}"
        if key in names:
            found[key] = output
        if len(found) == len(names):
            raise Probed

    modules = dict(model.named_modules())
    for name in {name.partition("#")[0] for name in names}:
        handles.append(
            modules[name].register_forward_hook(
                lambda module, inputs, output, name=name: hook(module, inputs, output, name)
            )
        )
    with pytest.raises(Probed):
        model(x)
    return found


def seen(y, unit, x):
    """(top, left, bottom, right) of the pixels that have a gradient."""
    (gradient,) = torch.autograd.grad(y[0, :, *unit].sum(), x, retain_graph=True)
    rows, columns = (gradient[0].abs().sum((0, axis)) > 0 for axis in (2, 1))
    rows, columns = rows.nonzero().flatten(), columns.nonzero().flatten()
    return (*(int(i[0]) for i in (rows, columns)), *(int(i[-1]) + 1 for i in (rows, columns)))


def clipped(window, size):
    top, left, bottom, right = window
    return max(top, 0), max(left, 0), min(bottom, size[0]), min(right, size[1])


# Three depths of each family (container: its last row), and a length in which the window of a
# middle unit lies inside the image.
PROBES = {
    "lenet": (("features.0", "features.2", "features.5"), 40),
    "lenet5": (("c1", "c3", "s4"), 40),
    "alexnet": (("features.3", "features.7", "features.15"), 500),
    "alexnet_owt": (("features.2", "features.5", "features.12"), 500),
    "zfnet": (("features.3", "features.8", "features.16"), 400),
    "vgg16": (("features.9", "features.16", "features.30"), 420),
    "vgg11_lrn": (("features.1", "features.9", "features.21"), 320),
    "vgg13_bn": (("features.6", "features.13", "features.34"), 320),
    "googlenet": (("conv3", "inception3a", "inception4c"), 500),
    "googlenet_bn": (("conv3", "inception3a", "inception4b"), 420),
    "resnet18": (("layer1.0.relu", "layer2.1.relu#2", "layer4.1.relu#2"), 900),
    "resnet50": (("layer1.0.relu#3", "layer2.0.downsample", "layer3.0.relu#3"), 460),
    "resnet50_v1": (("layer1.0.relu#2", "layer2.0.relu#3", "layer3.0.downsample"), 460),
    "resnet20": (("layer1.2.relu#2", "layer2.0.downsample", "layer3.2.relu#2"), 240),
    "preact_resnet18": (("layer1.0", "layer2.0.preactivation", "layer3.1"), 460),
    "allcnn_c": (("block1.2", "block2.4", "classifier.1"), 80),
    "model_c": (("block1.4", "block2", "classifier.5"), 80),
    "deepface": (("m2", "l5", "l6"), 90),
}


@table([case for case in NETWORKS if case.name in PROBES and not case.options])
@pytest.mark.parametrize("axis", [0, 1], ids=["vertical", "horizontal"])
def test_size_stride_and_offset_equal_gradient_probing(case: NetworkCase, axis):
    """In an image that is long along one axis only, so that the networks stay quick."""
    names, length = PROBES[case.name]
    across = 96 if length > 96 else length
    size = (length, across) if axis == 0 else (across, length)
    model = positive_linear_twin(case, size)
    with torch.device("meta"):
        network = case.build(image_size=size).eval()
    calls = walk(network, (1, case.image[0], *size))
    fields = receptive_fields(calls)
    x = torch.ones(1, case.image[0], *size, dtype=torch.float64, requires_grad=True)
    for name, y in outputs(model, x, names).items():
        inside = [call.name for call in calls if call.path and name in call.path]
        field = fields[inside[-1] if inside else name]
        middle = [n // 2 for n in y.shape[2:]]
        for step in (0, 1):
            unit = [n + step * (i == axis) for i, n in enumerate(middle)]
            window = field.window(*unit)
            assert 0 <= window[axis] < window[axis + 2] <= length, (name, window)
            assert seen(y, unit, x) == clipped(window, size), name


def fields_of(name, size, **options):
    with torch.device("meta"):
        model = models.build(name, **options).eval()
    return receptive_fields(walk(model, (1, *size)))


def test_resnet18_ends_at_435():
    assert fields_of("resnet18", (3, 224, 224))["layer4.1.relu#2"] == ReceptiveField(
        size=(435, 435), stride=(32, 32), offset=(-217, -217)
    )


def test_an_inception_module_sees_through_its_widest_branch():
    fields = fields_of("googlenet", (3, 224, 224))
    sizes = [fields[f"inception3a.branch{i}"].size[0] for i in ("1.0", "2.1.0", "3.1.0", "4.0")]
    assert sizes == [27, 43, 59, 43]
    assert fields["inception3a.cat"].size[0] == 59


@pytest.mark.parametrize(
    ("pattern", "size"),
    [
        ("CONV3-4 -> CONV3-4", 5),  # the chapter's stack of two, and of three
        ("CONV3-4 -> CONV3-4 -> CONV3-4", 7),
        ("CONV3-4 -> CONV3-4d2", 7),  # its dilations
        ("CONV3-4 -> CONV3-4d2 -> CONV3-4d4", 15),
    ],
)
def test_the_chapter_s_stacks(pattern, size):
    fields = fields_of(f"INPUT[3x32x32] -> {pattern} -> FC", (3, 32, 32))
    assert fields[f"features.{pattern.count('CONV') - 1}"].size == (size, size)


def test_fully_connected_layers_see_everything():
    fields = fields_of("vgg16", (3, 224, 224))
    first = fields["classifier.0"]
    assert first == fields["classifier.6"]
    assert first.stride == (0, 0)
    assert first.window(0, 0) == first.window(3, 5)
    top, left, bottom, right = first.window(0, 0)
    assert top <= 0
    assert left <= 0
    assert bottom >= 224
    assert right >= 224


class Branches(torch.nn.Module):
    def __init__(self, *branches):
        super().__init__()
        self.branches = torch.nn.ModuleList(branches)

    def forward(self, x):
        return sum(branch(x) for branch in self.branches)


def last(model, size=(1, 3, 32, 40)):
    calls = walk(model, size)
    return receptive_fields(calls)[calls[-1].name]


def test_what_is_unknown_is_none():
    nn = torch.nn
    conv = nn.Conv2d(3, 3, 3, padding=1)
    assert last(nn.Sequential(conv, nn.Upsample(scale_factor=2), nn.ReLU())) is None
    assert (
        last(
            Branches(
                nn.Conv2d(3, 3, 3, 2, 1),
                nn.Sequential(nn.AvgPool2d(4), nn.Upsample(scale_factor=2)),
            )
        )
        is None
    )


def test_a_gate_that_sees_everything_makes_everything_see_it():
    """Squeeze and excitation: a global average, spread over the map again."""
    nn = torch.nn
    gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 3, 1), nn.Sigmoid())
    field = last(Branches(nn.Identity(), gate))
    assert (field.stride, field.window(0, 0)) == ((0, 0), (0, 0, 32, 40))


def test_slices_pads_and_both_axes():
    class Net(torch.nn.Module):
        def forward(self, x):
            x = torch.nn.functional.pad(x, (1, 2, 3, 4))
            x = torch.nn.functional.max_pool2d(x, (3, 2), (2, 1))
            return x[..., 1::2, 3:]

    assert last(Net()) == ReceptiveField(size=(3, 2), stride=(4, 1), offset=(-1, 2))
