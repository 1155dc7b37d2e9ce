"""Pretrained weights: torchvision's, whose networks replace the download, or a file's."""

import urllib.error
from collections import OrderedDict
from types import ModuleType

import pytest
import torch
import torchvision
from torchvision.models._api import WeightsEnum

import models
from models import pretrained
from models.lenet import LeNet

RESNET = "resnet18-f37072fd.pth"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """torch.hub's folder of checkpoints; there is no internet."""

    def offline(*_, **__):
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def torchvision_network(name, **options):
    """With random weights."""
    return getattr(torchvision.models, pretrained.TORCHVISION[name])(**options)


def test_torchvision_has_weights_for_every_network_listed():
    for name in pretrained.TORCHVISION.values():
        assert "IMAGENET1K_V1" in torchvision.models.get_model_weights(name).__members__


@pytest.mark.parametrize("name", pretrained.TORCHVISION)
def test_torchvision_s_keys_and_shapes_are_ours(name):
    with torch.device("meta"):
        ours = models.build(name, **pretrained.builder_options(name)).state_dict()
        options = {"init_weights": False} if name == "googlenet_bn" else {}
        state = torchvision_network(name, **options).state_dict()
    state = {key: value for key, value in state.items() if not pretrained.is_auxiliary(key)}
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in state.items()}


def test_imagenet_weights_load_from_the_cache(cache):
    source = torchvision_network("resnet18").state_dict()
    torch.save(source, cache / RESNET)
    network = torchvision_network("resnet18")
    assert pretrained.load(network, "resnet18", "imagenet") == "from imagenet"
    assert equal(network.state_dict(), source)


def test_old_files_without_batch_counts_load(cache):
    """torchvision's VGG-BN and first ResNets were saved before torch counted batches."""
    source = torchvision_network("resnet18").state_dict()
    old = OrderedDict((k, v) for k, v in source.items() if "num_batches_tracked" not in k)
    torch.save(old, cache / RESNET, _use_new_zipfile_serialization=False)
    network = torchvision_network("resnet18")
    pretrained.load(network, "resnet18", "imagenet")
    assert equal(network.state_dict(), source)


def test_another_number_of_classes_keeps_the_head_s_initialisation(cache):
    torch.save(source := torchvision_network("resnet18").state_dict(), cache / RESNET)
    network = torchvision_network("resnet18", num_classes=7)
    fresh = network.fc.weight.clone()
    summary = pretrained.load(network, "resnet18", "imagenet")
    assert summary == "from imagenet; new for 7 classes instead of 1,000: fc"
    assert torch.equal(network.fc.weight, fresh)
    body = {key: value for key, value in network.state_dict().items() if "fc" not in key}
    assert equal(body, {key: value for key, value in source.items() if "fc" not in key})


def test_offline_the_error_names_the_expected_file(cache):
    network = torchvision_network("resnet18")
    with pytest.raises(ValueError, match="could not be downloaded") as error:
        pretrained.load(network, "resnet18", "imagenet")
    assert str(cache / RESNET) in str(error.value)
    assert "https://download.pytorch.org/models/" + RESNET in str(error.value)
    (cache / RESNET).write_bytes(b"half a downlo")
    with pytest.raises(ValueError, match="is damaged: delete it and try again"):
        pretrained.load(network, "resnet18", "imagenet")


def test_downloads_are_verified(monkeypatch):
    """By their hash, and loaded with weights_only=True."""
    requested = {}

    def get_state_dict(self, **options):
        requested.update(options, member=self)
        return torchvision_network("resnet18").state_dict()

    monkeypatch.setattr(WeightsEnum, "get_state_dict", get_state_dict)
    pretrained.load(torchvision_network("resnet18"), "resnet18", "imagenet")
    assert requested.pop("member") is torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    assert requested == {"map_location": "cpu", "check_hash": True, "weights_only": True}


def test_a_network_without_imagenet_weights():
    with pytest.raises(
        ValueError, match=r"no ImageNet weights for lenet, only for alexnet_owt, vgg"
    ):
        pretrained.load(models.build("lenet"), "lenet", "imagenet")


class GoogLeNetLike(torch.nn.Module):
    """With GoogLeNet's names of heads, and its `transform_input`."""

    def __init__(self, num_classes=10, aux_logits=True):
        super().__init__()
        self.transform_input = False
        self.conv1 = torch.nn.Conv2d(3, 4, 3)
        if aux_logits:
            self.aux1, self.aux2 = (
                torch.nn.ModuleDict(
                    {"fc1": torch.nn.Linear(4, 5), "fc2": torch.nn.Linear(5, num_classes)}
                )
                for _ in range(2)
            )
        self.fc = torch.nn.Linear(4, num_classes)


def test_auxiliary_heads_are_dropped_or_reinitialised_with_the_head(tmp_path):
    assert pretrained.builder_options("googlenet_bn") == {"aux_logits": False}
    source = GoogLeNetLike()
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    without = GoogLeNetLike(aux_logits=False)
    assert pretrained.load(without, "googlenet_bn", tmp_path / "weights.pth").endswith(".pth")
    assert torch.equal(without.fc.weight, source.fc.weight)
    other = GoogLeNetLike(num_classes=3)
    summary = pretrained.load(other, "googlenet_bn", tmp_path / "weights.pth")
    assert summary.endswith("; new for 3 classes instead of 10: fc, aux1.fc2, aux2.fc2")
    assert torch.equal(other.aux1.fc1.weight, source.aux1.fc1.weight)


def test_googlenet_s_transform_input_follows_the_weights(tmp_path):
    """torchvision's expect pixels in [-1, 1]; a checkpoint of ours says which it expects."""
    state = GoogLeNetLike().state_dict()
    for content, expected in (
        (state, True),
        ({"model": state, "transform_input": True}, True),
        ({"model": state, "transform_input": False}, False),
    ):
        torch.save(content, tmp_path / "weights.pth")
        network = GoogLeNetLike()
        pretrained.load(network, "googlenet_bn", tmp_path / "weights.pth")
        assert network.transform_input is expected


def test_weights_from_files_and_folders(tmp_path):
    source = models.build("lenet").state_dict()
    torch.save(source, tmp_path / "weights.pth")
    torch.save({"format": "convnets checkpoint 2", "model": source}, tmp_path / "best.pt")
    for path in (tmp_path / "weights.pth", str(tmp_path / "best.pt"), tmp_path):
        network = models.build("lenet")
        assert pretrained.load(network, "lenet", path) == f"from {path}"
        assert equal(network.state_dict(), source)


@pytest.mark.parametrize(
    ("name", "replaced"),
    [
        ("lenet", "classifier.4"),
        ("lenet5", "f6.0, output"),  # f6 learns the new codes
        ("INPUT[1x32x32] -> CONV3-4 -> FC8 -> RELU -> FC", "classifier.2"),
    ],
)
def test_the_head_of_several_networks(name, replaced, tmp_path):
    torch.save(models.build(name).state_dict(), tmp_path / "weights.pth")
    network = models.build(name, num_classes=12)
    summary = pretrained.load(network, name, tmp_path / "weights.pth")
    assert summary.endswith(f"; new for 12 classes instead of 10: {replaced}")
    assert network(torch.randn(1, 1, 32, 32)).shape == (1, 12)


def test_a_convolutional_head():
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 10, 1),
        torch.nn.BatchNorm2d(10),
    )  # fmt: skip
    assert pretrained.head(network) == [key for key in network.state_dict() if key[0] in "23"]


@pytest.mark.parametrize(
    ("there", "here", "words"),
    [
        ({"in_channels": 3}, {}, r"are for images of 3 channel\(s\), but the images have 1"),
        ({"image_size": 28}, {}, r"classifier\.0\.weight is \(120, 256\) .* another size"),
        ({"image_size": 28}, {"num_classes": 3}, r"classifier\.0\.weight is \(120, 256\)"),
    ],
)
def test_weights_for_other_images_are_refused(there, here, words, tmp_path):
    torch.save(models.build("lenet", **there).state_dict(), tmp_path / "weights.pth")
    network = models.build("lenet", **here)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=words):
        pretrained.load(network, "lenet", tmp_path / "weights.pth")
    assert equal(network.state_dict(), before)


def test_weights_of_other_networks_are_refused(tmp_path):
    torch.save(models.build("lenet5").state_dict(), tmp_path / "weights.pth")
    with pytest.raises(
        ValueError, match=r"lenet: they lack features\.0\.weight and they have c1\."
    ):
        pretrained.load(models.build("lenet"), "lenet", tmp_path / "weights.pth")
    state = models.build("lenet").state_dict()
    torch.save(state | {"more": torch.ones(1)}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"weights of lenet: they have more, which it has not$"):
        pretrained.load(models.build("lenet"), "lenet", tmp_path / "weights.pth")


class RunsCode:
    ran = False

    @classmethod
    def run(cls):
        cls.ran = True

    def __reduce__(self):
        return RunsCode.run, ()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"hello", "not readable as weights"),
        (b"", "not readable as weights"),
        (RunsCode(), "and more than tensors and plain values is not read"),
        ({"model": {"w": RunsCode()}}, r"holds a .*, and more than tensors"),
        (LeNet(), r"holds a layers\.\S+, .* save model.state_dict\(\) alone"),
        ({"model": {"w": 3}}, "holds no weights: expected a state_dict, .* its keys are model$"),
        (torch.ones(3), "holds no weights"),
        (None, "there is no file"),
    ],
)
def test_a_file_without_weights_is_refused_and_never_executed(content, words, tmp_path):
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ValueError, match=words):
        pretrained.load(models.build("lenet"), "lenet", path)
    assert not RunsCode.ran


def test_torchvision_is_imported_only_for_its_weights():
    assert not [name for name, value in vars(pretrained).items() if is_torchvision(value)]


def is_torchvision(value):
    return isinstance(value, ModuleType) and value.__name__.startswith("torchvision")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: (100 * w).int(), "is int32 in these weights"),
        (lambda w: w.to(torch.complex64), "is complex64"),
        (lambda w: w.to_sparse(), "is sparse"),
        (lambda w: w.to("meta"), "is without numbers"),
        (lambda w: w / 0, "is not finite"),
    ],
    ids=["whole", "complex", "sparse", "meta", "infinite"],
)
def test_weights_that_are_no_plain_numbers(change, words):
    expected = models.build("lenet").state_dict()
    key = "features.0.weight"
    with pytest.raises(ValueError, match=f"{key} {words}"):
        pretrained.check(expected | {key: change(expected[key])}, expected, "lenet")
