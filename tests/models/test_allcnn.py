"""The all convolutional network and the three networks that it is compared with."""

import pytest
import torch

import layers
import models


@pytest.mark.parametrize(
    ("size", "sizes"), [(32, (16, 8, 6)), (28, (14, 7, 5)), (29, (15, 8, 6)), (64, (32, 16, 14))]
)
@pytest.mark.parametrize("name", ["model_c", "strided_cnn_c", "convpool_cnn_c", "allcnn_c"])
def test_all_forms_have_the_same_sizes(name, size, sizes):
    with torch.device("meta"):
        network = models.build(name, image_size=size)
        x = torch.empty(1, 3, size, size)
        for part, expected in zip(
            (network.block1, network.block2, network.classifier), sizes, strict=True
        ):
            x = part(x)
            assert x.shape[2:] == (expected, expected)


@pytest.mark.parametrize("name", ["model_c", "strided_cnn_c", "convpool_cnn_c", "allcnn_c"])
def test_dropout_of_the_image_and_after_each_block(name):
    network = models.build(name)
    assert network.dropout.p == 0.2
    for block in (network.block1, network.block2):
        positions = [i for i, part in enumerate(block) if isinstance(part, layers.Dropout)]
        assert [block[i].p for i in positions] == [0.5]
        assert positions == [len(block) - 1]
    assert not any(isinstance(part, layers.Dropout) for part in network.classifier)


def test_layer_by_layer():
    """Parameters, strides and padding of All-CNN-C."""
    network = models.build("allcnn_c")
    convolutions = [m for m in network.modules() if isinstance(m, layers.Conv2d)]
    assert [sum(p.numel() for p in m.parameters()) for m in convolutions] == [
        2_688, 83_040, 83_040, 166_080, 331_968, 331_968, 331_968, 37_056, 1_930
    ]  # fmt: skip
    assert [m.stride[0] for m in convolutions] == [1, 1, 2, 1, 1, 2, 1, 1, 1]
    assert [m.padding[0] for m in convolutions] == [1, 1, 1, 1, 1, 1, 0, 0, 0]


@pytest.mark.parametrize("name", ["model_c", "strided_cnn_c", "convpool_cnn_c", "allcnn_c"])
def test_all_classes_start_active(name):
    """The logits are outputs of a ReLU: a class that is 0 for every image has no gradient."""
    network = models.build(name, image_size=16).eval()
    logits = network(torch.randn(16, 3, 16, 16))
    assert (logits > 0).all()
    with torch.no_grad():
        network.classifier[-2].bias.fill_(-100)
    assert not network(torch.randn(2, 3, 16, 16)).any()
