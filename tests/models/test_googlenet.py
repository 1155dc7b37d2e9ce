"""GoogLeNet, its auxiliary heads and their loss, and torchvision's variant."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

import layers
import models
from models.googlenet import TABLE_1, AuxiliaryLoss, GoogLeNetOutputs
from models.googlenet_bn import to_unit_range

each_network = pytest.mark.parametrize("name", ["googlenet", "googlenet_bn"])


# Table 1: output sizes, and weights of each module without biases
@pytest.mark.parametrize(
    ("name", "shape", "weights"),
    [
        ("conv1", (64, 112, 112), 9_408),
        ("maxpool1", (64, 56, 56), 0),
        ("conv2", (64, 56, 56), 4_096),
        ("conv3", (192, 56, 56), 110_592),
        ("maxpool2", (192, 28, 28), 0),
        ("inception3a", (256, 28, 28), 163_328),
        ("inception3b", (480, 28, 28), 388_096),
        ("maxpool3", (480, 14, 14), 0),
        ("inception4a", (512, 14, 14), 375_552),
        ("inception4b", (512, 14, 14), 448_512),
        ("inception4c", (512, 14, 14), 509_440),
        ("inception4d", (528, 14, 14), 604_672),
        ("inception4e", (832, 14, 14), 867_328),
        ("maxpool4", (832, 7, 7), 0),
        ("inception5a", (832, 7, 7), 1_042_432),
        ("inception5b", (1024, 7, 7), 1_442_816),
        ("avgpool", (1024, 1, 1), 0),
        ("fc", (1000,), 1_024_000),
    ],
)
def test_table_1(name, shape, weights):
    with torch.device("meta"):
        network = models.build("googlenet").eval()
    outputs = {}
    module = getattr(network, name)
    module.register_forward_hook(lambda _, __, y: outputs.update(y=y))
    network(torch.empty(1, 3, 224, 224, device="meta"))
    assert tuple(outputs["y"].shape[1:]) == shape
    assert sum(p.numel() for p in module.parameters() if p.dim() > 1) == weights


def test_auxiliary_heads():
    """Section 5: 5 x 5 pooling with stride 3 to 4 x 4, 128 filters, 1024 units, the classes."""
    with torch.device("meta"):
        network = models.build("googlenet")
    for head, parameters in ((network.aux1, 3_188_840), (network.aux2, 3_190_888)):
        assert sum(p.numel() for p in head.parameters()) == parameters
        assert head.fc1.in_features == 128 * 4 * 4


def test_multiply_adds_with_auxiliary_heads():
    with torch.device("meta"):
        network = models.build("googlenet", nn=torch.nn).train()
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, 224, 224, device="meta"))
    assert counter.get_total_flops() == 2 * 1_591_044_096


def test_response_norm_has_caffe_s_constants():
    network = models.build("googlenet", aux_logits=False)
    x = 30 * torch.randn(1, 64, 2, 2, dtype=torch.float64)
    expected = x[:, 9] / (1 + 1e-4 / 5 * x[:, 7:12].square().sum(1)) ** 0.75
    assert_close(network.norm1(x)[:, 9], expected)


@each_network
def test_outputs(name):
    """Three named outputs in training, the logits in evaluation or without auxiliary heads."""
    network = models.build(name, num_classes=5, image_size=64)
    x = torch.randn(2, 3, 64, 64)
    output = network.train()(x)
    assert isinstance(output, GoogLeNetOutputs)
    assert output._fields == ("logits", "aux1", "aux2")
    assert models.logits(output) is output.logits
    for part in output:
        assert part.shape == (2, 5)
    logits = network.eval()(x)
    assert logits.shape == (2, 5)
    assert models.logits(logits) is logits
    without_heads = models.build(name, num_classes=5, image_size=64, aux_logits=False)
    assert without_heads.train()(x).shape == (2, 5)
    missing, unexpected = without_heads.load_state_dict(network.state_dict(), strict=False)
    assert not missing
    assert {key.split(".")[0] for key in unexpected} == {"aux1", "aux2"}


@each_network
def test_aux1_reads_4a_and_aux2_4d(name):
    network = models.build(name, num_classes=5, image_size=64).train()
    seen = {}
    for layer in ("inception4a", "inception4d"):
        getattr(network, layer).register_forward_hook(
            lambda _, __, y, layer=layer: seen.update({layer: y})
        )
    heads = {}
    for head in ("aux1", "aux2"):
        getattr(network, head).register_forward_hook(
            lambda _, x, y, head=head: heads.update({head: (x[0], y)})
        )
    output = network(torch.randn(2, 3, 64, 64))
    assert heads["aux1"][0] is seen["inception4a"]
    assert heads["aux2"][0] is seen["inception4d"]
    assert output.aux1 is heads["aux1"][1]
    assert output.aux2 is heads["aux2"][1]


@each_network
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_the_loss_adds_0_3_of_each_auxiliary_loss(name, label_smoothing):
    with torch.device("meta"):
        network = models.build(name)
    criterion = models.criterion(network, layers, label_smoothing)
    assert isinstance(criterion, AuxiliaryLoss)
    output, targets = GoogLeNetOutputs(*torch.randn(3, 4, 6)), torch.tensor([0, 1, 2, 5])

    def cross_entropy(part):
        return F.cross_entropy(part, targets, label_smoothing=label_smoothing)

    plain = cross_entropy(output.logits)
    expected = plain + 0.3 * cross_entropy(output.aux1) + 0.3 * cross_entropy(output.aux2)
    assert_close(criterion(output, targets), expected)
    assert_close(criterion(output.logits, targets), plain)


def test_an_image_too_small_for_the_auxiliary_heads_only():
    message = (
        r"too small for the auxiliary heads \(aux_logits=False .*smallest that fits is 47 x 47"
    )
    with torch.device("meta"):
        with pytest.raises(ValueError, match=message):
            models.build("googlenet", image_size=46)
        models.build("googlenet", image_size=47)
        models.build("googlenet", image_size=46, aux_logits=False)
        models.build("googlenet_bn", image_size=46)  # its heads average to 4 x 4 from any size
        with pytest.raises(ValueError, match="too small for this network"):
            models.build("googlenet", image_size=8, aux_logits=False)


def test_initialisation_is_caffe_s():
    network = models.build("googlenet", num_classes=50, image_size=64)
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            bound = (3 / module.weight[0].numel()) ** 0.5
            assert 0.95 * bound < module.weight.abs().max() <= bound
            classifier = name in ("fc", "aux1.fc2", "aux2.fc2")
            assert torch.all(module.bias == (0.0 if classifier else 0.2))


def test_initialisation_is_torchvision_s():
    network = models.build("googlenet_bn", num_classes=50)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.01, rel=0.05)


def test_the_third_branch_is_5x5_in_the_paper_and_3x3_in_torchvision():
    with torch.device("meta"):
        paper, twin = models.build("googlenet"), models.build("googlenet_bn")
    for stage in TABLE_1:
        ours, theirs = (getattr(network, f"inception{stage}") for network in (paper, twin))
        assert ours.branch3[1][0].kernel_size == (5, 5)
        assert theirs.branch3[1].conv.kernel_size == (3, 3)


def test_transform_input_rescales_pixels_to_the_unit_range():
    pixels = torch.rand(2, 3, 4, 4)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (pixels - mean[:, None, None]) / std[:, None, None]
    assert_close(to_unit_range(x), 2 * pixels - 1)
    plain = models.build("googlenet_bn", num_classes=3, image_size=64).eval()
    transforming = models.build("googlenet_bn", num_classes=3, image_size=64, transform_input=True)
    transforming.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(transforming.eval()(x), plain(to_unit_range(x)))
    with pytest.raises(ValueError, match="3 colours, not 1 channels"):
        models.build("googlenet_bn", in_channels=1, transform_input=True)
