"""A network learns the same whichever algorithm its convolutions take."""

import pytest
import torch

import layers
import models
from layers.ops.geometry import Geometry
from layers.ops.registry import choose


@pytest.mark.parametrize(("model", "size"), [("lenet", 32), ("resnet20", 16)])
def test_winograd_draws_im2col_s_curve(model, size):
    """Twenty steps at a small rate; at a large one any rounding is magnified, torch.nn's, too.

    At this one roundings come to 0.3 per cent at most; a rate a tenth smaller draws a curve 1.1 per
    cent away, and no learning one 15.
    """
    curves = {algorithm: _losses(model, size, algorithm) for algorithm in ("auto", "im2col")}
    torch.testing.assert_close(curves["auto"], curves["im2col"], rtol=1e-2, atol=0)
    different = not torch.equal(curves["auto"], curves["im2col"])
    assert different == (model == "resnet20")  # LeNet's layers are too narrow for Winograd


def test_resnet20_has_layers_for_winograd():
    image, filters = torch.empty(16, 64, 4, 4), torch.empty(64, 64, 3, 3)
    inputs = [image, filters, Geometry((3, 3), padding=(1, 1)), False, "auto"]
    assert choose("conv2d", inputs).name == "winograd"


def _losses(model, size, algorithm):
    torch.manual_seed(0)
    network = models.build(model, num_classes=10, in_channels=1, image_size=size)
    for module in network.modules():
        if isinstance(module, layers.Conv2d):
            module.algorithm = algorithm
    optimizer = torch.optim.SGD(network.parameters(), 0.0005, 0.9)
    losses = []
    for _ in range(20):
        targets = torch.randint(10, (16,))
        images = torch.randn(16, 1, size, size) + targets[:, None, None, None]
        loss = torch.nn.functional.cross_entropy(network(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses)
